"""Tells damage that somebody did to keys in Redis from the other errors that Redis answers, and puts it into the log.

It is met wherever a queue is asked, by many tasks and for as long as it lasts. So it is logged here, once a minute for a
queue, and whoever meets it leaves that queue out.
"""

from __future__ import annotations

import re
import time

import structlog

from dtq.errors import QueueDamaged

__all__ = ["TELL_EVERY", "damage_of"]

TELL_EVERY = 60.0
"""Seconds between two events about one queue."""

_TAG = re.compile(r"\{([^}]*)\}")
_told: dict[str, float] = {}

log = structlog.get_logger("dtq.queue")


def damage_of(key: str, text: str) -> QueueDamaged | None:
    """The damage to keys of the queue of ``key`` that Redis' error ``text`` tells of; None if it is about something else."""
    if not text.startswith("WRONGTYPE") and "value is not" not in text:
        return None
    tag = _TAG.search(key)
    queue = tag[1] if tag else key
    reason = text.partition(" script: ")[0].rstrip(".,'\" ")
    now = time.monotonic()
    if now >= _told.get(queue, 0.0):
        _told[queue] = now + TELL_EVERY
        log.error("queue_damaged", queue=queue, error=reason)
    return QueueDamaged(queue, reason)
