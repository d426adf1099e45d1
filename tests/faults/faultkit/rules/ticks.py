"""A tick of a schedule starts one job (README, Delivery guarantee; docs/adr/0006)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from dtq.errors import InvalidJobId
from dtq.ids import JobId, parse_id
from faultkit.facts import Facts

__all__ = ["tick_of", "ticks"]


def ticks(facts: Facts) -> Iterator[str]:
    """At most one job for each schedule and minute, over rows and executions. Schedules have tags of their own."""
    jobs: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for row in facts.rows.values():
        if row.schedule is not None and (tick := tick_of(row.id)):
            jobs[row.tag, tick.ms].add(row.id)
    for job, runs in facts.executions.items():
        if tick := tick_of(job):
            jobs[runs[0].tag, tick.ms].add(job)
    for (tag, ms), some in jobs.items():
        if len(some) > 1:
            yield f"{tag}: the tick at {ms} started {sorted(some)}"
        if ms % 60_000:
            yield f"{sorted(some)[0]}: is of a tick at {ms}, which is no full minute"


def tick_of(job: str) -> JobId | None:
    """The parts of an id if a tick started its job."""
    try:
        parts = parse_id(job)
    except InvalidJobId:
        return None
    return parts if parts.kind == "t" else None
