"""What a history counts up to: the figures that are published beside the verdict."""

from __future__ import annotations

from collections import Counter
from typing import Any

from faultkit.facts import Facts
from faultkit.rules.fencing import overlaps
from faultkit.rules.ticks import tick_of

__all__ = ["figures"]


def figures(facts: Facts) -> dict[str, Any]:
    """All of them. "again" means without the queue having been told that the execution before had failed: the duplicates."""
    states = Counter(row.state for row in facts.rows.values())
    kinds = Counter(event.kind for event in facts.history)
    again = {row.id for row in facts.planned() if _repeated(facts, row.id)}
    finished = {job for job, runs in facts.executions.items() if sum(run.state == "ok" for run in runs) > 1}
    return {
        "accepted": len(facts.accepted),
        "unanswered": kinds["unanswered"],
        "refused": kinds["refused"],
        "succeeded": states["succeeded"],
        "failed": states["failed"],
        "cancelled": states["cancelled"],
        "retried by hand": sum(row.replays > 0 for row in facts.rows.values()),
        "ticks": sum(row.schedule is not None and tick_of(row.id) is not None for row in facts.rows.values()),
        "executions": sum(map(len, facts.executions.values())),
        "executed again": len(again),
        "of these with a lost worker": sum(bool(facts.rows[job].lost) for job in again),
        "completed twice": len(finished),
        "twice at once": len({first.job for first, _ in overlaps(facts)}),
        "attempts lost": sum(len(row.lost) for row in facts.rows.values()),
        "workers lost": len({attempt.worker for row in facts.rows.values() for attempt in row.lost}),
        "kills": sum(fault.text == "SIGKILL" for fault in facts.faults),
    }


def _repeated(facts: Facts, job: str) -> bool:
    """Whether there were more executions than attempts whose end the queue was told."""
    told = sum(attempt.outcome != "lost" for attempt in facts.rows[job].attempts)
    return len(facts.executions[job]) > max(1, told)
