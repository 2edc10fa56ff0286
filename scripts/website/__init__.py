"""What the documentation's site has beside docs/: see `hooks`."""
