"""Model families that navicache can drive, one module each."""
