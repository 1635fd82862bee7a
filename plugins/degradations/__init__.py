"""The built-in degradations."""
