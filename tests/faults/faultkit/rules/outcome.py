"""A job's end fits what its handler did: no attempt is made up, forgotten or given away.

Attempts that failed count against max_retries; those of dead workers do not, but the third ends the job as ``worker_lost``; what
was handed back counts neither way (docs/architecture.md, "States"). A retry by hand begins a new life with its retries afresh.
"""

from __future__ import annotations

from collections.abc import Iterator

from dtq.job import Attempt
from faultkit.facts import Facts, Row

__all__ = ["outcome", "retries"]

CRASHES = 3
"""Workers that a job may lose (README, "At least once")."""

ON_PURPOSE = "as planned"
"""Message of the failures that a plan asks for; others are timeouts and processes that died."""


def outcome(facts: Facts) -> Iterator[str]:
    """The state is the one that the job's plan (faultkit.jobs.Plan) leads to, or there is a reason for another."""
    for row in facts.planned():
        if row.state == "cancelled":
            if row.id not in facts.cancel_wished and row.schedule is None:
                yield f"{row.id}: cancelled, and nobody asked for it"
        elif row.state == "succeeded":
            yield from _succeeded(row, facts.limit(row))
        elif row.error.get("kind") == "worker_lost":
            if len(row.lost) < CRASHES:
                yield f"{row.id}: failed as worker_lost after {len(row.lost)} lost workers"
        else:
            yield from _failed(row, facts.limit(row))


def _succeeded(row: Row, limit: int) -> Iterator[str]:
    kind = row.plan.get("kind", "ok")
    if kind in ("always", "permanent"):
        yield f"{row.id}: succeeded, and its handler never does"
    if kind == "flaky":
        times = int(row.plan.get("times", 0))
        count = _count(row.lives[-1])
        if times > limit:
            yield f"{row.id}: succeeded with {limit} retries, and its handler fails {times} times"
        if count < times:
            yield f"{row.id}: succeeded after {count} failures, and its handler fails {times} times"


def _failed(row: Row, limit: int) -> Iterator[str]:
    """Failed for good: by a permanent error, or with all retries used up."""
    last = row.lives[-1]
    kind = row.plan.get("kind", "ok")
    if row.error.get("kind") == "permanent":
        if kind != "permanent":
            yield f"{row.id}: failed by a permanent error that its plan {kind} does not raise"
        return
    if _count(last) < limit + 1:
        yield f"{row.id}: failed after {_count(last)} failures, and has {limit} retries"
    by_plan = kind == "always" or (kind == "flaky" and int(row.plan.get("times", 0)) > limit)
    if not by_plan and all(attempt.error is not None and attempt.error.message == ON_PURPOSE for attempt in row.failures):
        yield f"{row.id}: failed, and its plan {kind} succeeds with {limit} retries"


def retries(facts: Facts) -> Iterator[str]:
    """Failures are at most max_retries + 1 in each life, and no failure that was permanent was followed by another attempt."""
    for row in facts.planned():
        limit, lives = facts.limit(row), row.lives
        if len(lives) > row.replays + 1:
            yield f"{row.id}: has {len(lives)} lives, and {row.replays} retries by hand"
        for life in lives:
            several = row.replays + 2 - len(lives)  # lives that may have left no mark between them
            if _count(life) > (limit + 1) * max(1, several):
                yield f"{row.id}: failed {_count(life)} times, and has {limit} retries"
            if any(attempt.error is not None and attempt.error.kind == "permanent" for attempt in life[:-1]):
                yield f"{row.id}: ran again after a permanent error"


def _count(life: list[Attempt]) -> int:
    return sum(attempt.outcome in ("retry", "failed") for attempt in life)
