"""When to skip: the protocol, and one caching method a file."""
