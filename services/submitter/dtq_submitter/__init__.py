"""DTQ submitter service."""
