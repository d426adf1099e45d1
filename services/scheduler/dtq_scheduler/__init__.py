"""DTQ scheduler service."""
