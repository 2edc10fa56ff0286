"""What the official repositories share."""
