"""How long jobs of a killed worker waited until they ran elsewhere. Pure: the history in, seconds out."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from faultkit.history import Event

__all__ = ["Takeover", "most_at_once", "percentiles", "running_at", "takeovers", "twice_started"]


class Takeover(NamedTuple):
    """One job of a killed worker: ``seconds`` from the kill to its start on another, None if it never started again."""

    job: str
    pid: int
    seconds: float | None
    pool: bool = False
    """Whether it runs in a process of its worker, which may have had to be started for it."""
    again: bool = False
    """Whether the worker that took it over was killed as well before the handler could start."""


def running_at(history: Sequence[Event], pid: int, at: int) -> list[str]:
    """Jobs whose handler had started on worker ``pid``, and not ended, at this moment."""
    running: dict[str, str] = {}
    for event in history:
        if event.at > at:
            break
        if event.pid == pid and event.kind == "start":
            running[event.token] = event.job
        elif event.pid == pid and event.kind == "end":
            running.pop(event.token, None)
    return list(dict.fromkeys(running.values()))


def takeovers(history: Sequence[Event], pid: int, at: int, rows: Mapping[str, Mapping[str, Any]]) -> list[Takeover]:
    """What became of the jobs that ran on ``pid`` when it was killed. ``rows`` are those of PostgreSQL, by id."""
    jobs = running_at(history, pid, at)
    starts: dict[str, Event] = {}
    for event in history[bisect.bisect_right(history, at, key=lambda event: event.at) :]:
        if event.kind == "start" and event.pid != pid:
            starts.setdefault(event.job, event)
    return [_takeover(job, pid, at, starts.get(job), rows.get(job, {}).get("attempts") or []) for job in jobs]


def _takeover(job: str, pid: int, at: int, start: Event | None, attempts: Sequence[Mapping[str, Any]]) -> Takeover:
    if start is None:
        return Takeover(job, pid, None)
    workers = [attempt["worker"] for attempt in attempts]
    after = next((number for number, worker in enumerate(workers) if f"-{pid}-" in worker), -1) + 1
    again = 0 < after < len(workers) and f"-{start.pid}-" not in workers[after]
    return Takeover(job, pid, (start.at - at) / 1e9, start.who != f"worker {start.pid}", again)


def most_at_once(history: Sequence[Event]) -> int:
    """The most executions that were under way together."""
    now = most = 0
    for event in history:
        now += {"start": 1, "end": -1}.get(event.kind, 0)
        most = max(most, now)
    return most


def percentiles(values: Sequence[float]) -> Mapping[str, float]:
    """p50, p99 and max; nothing for no values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {"p50": ordered[round(last * 0.5)], "p99": ordered[round(last * 0.99)], "max": ordered[-1]}


def twice_started(history: Sequence[Event], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What shows that a live worker was taken for dead: jobs that never failed and started twice, and attempts called lost."""
    starts: dict[str, int] = {}
    for event in history:
        if event.kind == "start" and event.plan.get("kind") == "ok":
            starts[event.job] = starts.get(event.job, 0) + 1
    found = [f"{job}: started {count} times, though its worker lived" for job, count in starts.items() if count > 1]
    for row in rows:
        lost = [attempt for attempt in row["attempts"] or [] if attempt["outcome"] == "lost"]
        found += [f"{row['id']}: its attempt {attempt['number']} on {attempt['worker']} is called lost" for attempt in lost]
    return found
