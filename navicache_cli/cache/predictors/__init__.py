"""How a skipped output is rebuilt."""
