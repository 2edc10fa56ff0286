"""Sub-commands of the `navicache` program, one module each."""
