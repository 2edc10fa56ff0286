"""What other settings would have decided on recorded generations."""
