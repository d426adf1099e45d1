"""How long the fault tests themselves wait for Redis: they look on, and a busy machine is no fault."""

from __future__ import annotations

from dtq.queue import connection, wire

__all__ = ["LIMITS", "PATIENCE", "be_patient"]

PATIENCE = 60.0
"""Seconds that anything may take that is bound to happen."""

LIMITS = ((connection, "CONNECT_TIMEOUT"), (connection, "ANSWER_TIMEOUT"), (wire, "ANSWER_TIMEOUT"))
"""Where it is said how long a client waits for Redis."""


def be_patient() -> None:
    """From now on this process gives up a connection or an answer only then; services are processes of their own."""
    for module, limit in LIMITS:
        setattr(module, limit, PATIENCE)
