"""Attaching to a model, and detaching."""
