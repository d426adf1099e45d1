"""DTQ worker service."""
