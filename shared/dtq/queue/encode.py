"""Jobs to script arguments: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dtq.job import PRIORITIES, NewJob
from dtq.queue import keys

__all__ = ["options_json", "submit_arguments"]

_encode = msgspec.json.encode


def options_json(timeout: float | None, max_retries: int | None, schedule: str | None = None) -> bytes:
    """The options a job carries besides type and payload, as JSON; empty when it has none."""
    if timeout is None and max_retries is None and schedule is None:
        return b""
    options = {"timeout": timeout, "max_retries": max_retries, "schedule": schedule}
    return _encode({name: value for name, value in options.items() if value is not None})


def submit_arguments(jobs: Sequence[NewJob], limit: int, idempotency_ms: int) -> tuple[list[str], list[Any]]:
    """KEYS and ARGV of the submit script. Neighbours that differ in their payload alone share one segment."""
    places: dict[str, int] = {}
    args: list[Any] = [limit, idempotency_ms]
    add = args.append
    last: tuple[Any, ...] | None = None
    count_at = 0
    for job in jobs:
        plain = job.delay_ms == 0 and job.run_at_ms is None and job.idempotency_key is None
        if plain:
            alike = (job.queue, job.priority, job.type, job.timeout, job.max_retries)
            if alike == last:
                args[count_at] += 1
                add(job.payload)
                continue
            last = alike
        else:
            last = None
        place = places.setdefault(job.queue, len(places) + 1)
        lane = PRIORITIES[job.priority]
        options = options_json(job.timeout, job.max_retries)
        if plain:
            args += ("P", place, lane, job.type, options, 1, job.payload)
            count_at = len(args) - 2
        else:
            args += ("S", place, lane, job.type, options, job.payload, *_when(job), job.idempotency_key or "", job.digest or "-")
    return [keys.prefix(queue) for queue in places], args


def _when(job: NewJob) -> tuple[str, int]:
    if job.run_at_ms is not None:
        return "2", job.run_at_ms
    return ("1", job.delay_ms) if job.delay_ms else ("0", 0)
