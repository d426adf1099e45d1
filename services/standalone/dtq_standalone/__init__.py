"""DTQ standalone service."""
