"""The configuration: value types, the schema, and loading it from flags, environment and file."""
