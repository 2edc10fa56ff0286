"""Other libraries' caches on the same weights."""
