"""What `navicache batch` works on: rows of a file, the videos they ask for, what was done."""
