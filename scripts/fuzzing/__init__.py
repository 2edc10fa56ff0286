"""Parts of scripts/fuzz.py: the calls it makes up, how each is run, and what is a fault."""
