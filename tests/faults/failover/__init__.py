"""Replicated and clustered Valkeys whose primary can be killed, on one machine; and services on them."""
