"""Every Redis key DTQ uses, built in one place. The key map with types and life times is in docs/architecture.md.

All keys of one queue carry the hash tag ``{queue}``, so that every script runs on one slot of a cluster.
"""

from __future__ import annotations

__all__ = [
    "GROUP",
    "IDEMPOTENCY",
    "LANES",
    "QUEUES",
    "QUEUES_SLOT",
    "box",
    "cancels",
    "dead",
    "delayed",
    "done",
    "failed",
    "idempotency",
    "idle",
    "lane",
    "outbox",
    "paused",
    "prefix",
    "progress",
    "queue_of",
    "record",
    "wake",
]

GROUP = "w"
"""Name of the one consumer group of every stream."""

LANES = ("f", "h", "n", "l")
"""Streams of a queue in the order of claiming: redelivered first, then high, normal and low priority."""

IDEMPOTENCY = "dtq:idem:"
"""What keys that bind an idempotency key to one queue and body start with."""

QUEUES = "dtq:queues"
"""Set of the names of all queues ever submitted to."""

QUEUES_SLOT = "dtq:{dtq:queues}"
"""What keys that are to be in the slot of :data:`QUEUES` start with."""


def prefix(queue: str) -> str:
    """What all keys of a queue start with: KEYS[1] of its scripts."""
    return f"dtq:{{{queue}}}"


def queue_of(prefix: str) -> str:
    """The queue of a :func:`prefix`."""
    return prefix[5:-1]


def lane(queue: str, letter: str) -> str:
    """Stream of waiting and running jobs."""
    return f"dtq:{{{queue}}}:{letter}"


def record(queue: str, job_id: str) -> str:
    """Hash of a live job that has a history."""
    return f"dtq:{{{queue}}}:job:{job_id}"


def done(queue: str, job_id: str) -> str:
    """Hash of finished jobs (id to JSON text) submitted in the same quarter of a second, kept for RESULTTTL."""
    return f"dtq:{{{queue}}}:done:{job_id[:9]}"


def failed(queue: str, job_id: str) -> str:
    """The same of failed jobs, kept for DEADTTL."""
    return f"dtq:{{{queue}}}:failed:{job_id[:9]}"


def idempotency(key: str) -> str:
    """The queue and body that an idempotency key was first used for, kept for IDEMPOTENCYTTL."""
    return f"{IDEMPOTENCY}{key}"


def progress(queue: str, job_id: str) -> str:
    """Latest progress report of a running job."""
    return f"dtq:{{{queue}}}:progress:{job_id}"


def delayed(queue: str) -> str:
    """Sorted set of scheduled and retrying jobs by due time in ms."""
    return f"dtq:{{{queue}}}:delayed"


def dead(queue: str) -> str:
    """Sorted set of failed jobs by the time they failed: the dead letters."""
    return f"dtq:{{{queue}}}:dead"


def cancels(queue: str) -> str:
    """Hash of running jobs whose cancellation was asked."""
    return f"dtq:{{{queue}}}:cancel"


def paused(queue: str) -> str:
    """Present while the queue is paused."""
    return f"dtq:{{{queue}}}:paused"


def idle(queue: str) -> str:
    """Sorted set of the workers that wait for a job, by since when in ms."""
    return f"dtq:{{{queue}}}:idle"


def box(queue: str, worker: str) -> str:
    """List in which an idle worker finds a job claimed for it, or a word to look."""
    return f"dtq:{{{queue}}}:box:{worker}"


def wake(queue: str) -> str:
    """List with at most one token, which lets one idle worker out of its blocking read."""
    return f"dtq:{{{queue}}}:wake"


def outbox(queue: str) -> str:
    """Stream of finished jobs on their way to PostgreSQL."""
    return f"dtq:{{{queue}}}:outbox"
