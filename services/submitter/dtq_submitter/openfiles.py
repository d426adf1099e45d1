"""How many connections there may be: each is an open file, and of these the system allows a process only so many."""

from __future__ import annotations

import resource

import structlog

__all__ = ["make_room"]

OTHERS = 200
"""Open files besides the clients' connections: those to Redis and PostgreSQL, blobs, refused clients."""

_log = structlog.get_logger("dtq.submitter")


def make_room(connections: int) -> int:
    """Raise the process' limit of open files as far as needed and allowed; returns how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError):  # some systems have a lower limit than the one they tell
        allowed = soft
    if allowed >= wanted:
        return connections
    fitting = max(allowed - OTHERS, allowed // 2)
    _log.warning("connections_limited", allowed=fitting, wanted=connections, open_files=allowed)
    return fitting
