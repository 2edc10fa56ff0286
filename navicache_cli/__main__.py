"""`python -m navicache_cli`."""

from .app import main

main()
