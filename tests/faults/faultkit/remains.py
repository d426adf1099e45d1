"""What is left in Redis when all work is done: live state without its counterpart would be a half-done transition."""

from __future__ import annotations

from typing import Any

import redis

from dtq.ids import parse_id
from dtq.queue import keys

__all__ = ["half_done", "idempotent_jobs"]


def half_done(redis_url: str) -> list[str]:
    """What a server on which every job has ended still holds of live jobs: a line for each thing that should not be there.

    Looks at whole keys, so it is for tests alone, and for a stand at rest.
    """
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return [line for queue in sorted(client.smembers(keys.QUEUES)) for line in _of_queue(client, queue)]


def _of_queue(client: Any, queue: str) -> list[str]:
    prefix = keys.prefix(queue)
    found = []
    for lane in keys.LANES:
        stream = keys.lane(queue, lane)
        if length := client.xlen(stream):
            found.append(f"{stream} still has {length} entries")
        groups = client.xinfo_groups(stream) if client.exists(stream) else []
        if pending := sum(group["pending"] for group in groups):
            found.append(f"{stream} has {pending} pending entries, and no job runs")
    found += [f"{key} is the record of a job that nobody knows" for key in client.scan_iter(f"{prefix}:job:*", count=1000)]
    for what in ("delayed", "cancel", "outbox"):
        key = f"{prefix}:{what}"
        count = {"delayed": client.zcard, "cancel": client.hlen, "outbox": client.xlen}[what](key)
        if count:
            found.append(f"{key} still has {count} members")
    for box in client.scan_iter(f"{prefix}:box:*", count=1000):
        found += [f"{box} holds a job" for item in client.lrange(box, 0, -1) if item]
    return found


def idempotent_jobs(redis_url: str) -> dict[str, str]:
    """Every idempotency key that Redis remembers with a job, and that job's id."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        found = {}
        for queue in client.smembers(keys.QUEUES):
            prefix = f"{keys.prefix(queue)}:idem:"
            for key in client.scan_iter(f"{prefix}*", count=1000):
                job = str(client.get(key)).partition(" ")[2]
                parse_id(job)
                found[key.removeprefix(prefix)] = job
        return found
