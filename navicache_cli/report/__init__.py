"""Reports and other documents: definition, schema, check."""
