"""`dots`: a model family for navicache, small enough to read and to start one's own from."""
