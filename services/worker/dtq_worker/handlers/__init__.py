"""Handlers of the built-in job types, one module each."""
