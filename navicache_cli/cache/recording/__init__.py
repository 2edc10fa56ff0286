"""All steps of a generation measured against one another."""
