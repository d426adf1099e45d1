"""How an entry's state changes by a decision, and what its owner is told. Pure."""

from __future__ import annotations

from dtq.schedule.decide import MANY, Active, Decision, Skip, Start
from dtq.schedule.entry import Advance, Entry, Event, rfc3339

__all__ = ["advance", "unreadable"]

RETRY_MS = 3_600_000
"""An entry that cannot be decided on is looked at again after this: newer zone data may have come."""


def advance(entry: Entry, decision: Decision, now: int, run: str | None = None) -> Advance:
    """The change by ``decision``; for a Start, ``run`` is the id of the job that was started."""
    started = decision.tick if isinstance(decision, Start) else entry.last
    return Advance(
        name=entry.name,
        uid=entry.uid,
        generation=entry.generation,
        expected=entry.last,
        last=started,
        missed=decision.tick if isinstance(decision, Skip) else entry.missed,
        blocked=decision.tick if isinstance(decision, Active) else None,
        next=decision.next,
        run=run,
        event=_event(entry, decision, now),
    )


def _event(entry: Entry, decision: Decision, now: int) -> Event | None:
    """What to tell, once a tick."""
    if isinstance(decision, Skip) and decision.tick != entry.missed:
        when = rfc3339(decision.tick)
        return Event("MissSchedule", f"the job of {when} was not started within {entry.spec.startingDeadlineSeconds} s", now)
    if isinstance(decision, Active) and decision.tick != entry.blocked:
        when = rfc3339(decision.tick)
        return Event("JobAlreadyActive", f"the job of {when} waits: a run is active and the policy is Forbid", now, "Normal")
    if isinstance(decision, Start) and decision.too_many:
        return Event("TooManyMissedTimes", f"more than {MANY} ticks were missed; started the one of {rfc3339(decision.tick)}", now)
    return None


def unreadable(entry: Entry, problem: str, now: int) -> Advance:
    """The change for an entry whose line or zone this program cannot read."""
    return Advance(
        name=entry.name,
        uid=entry.uid,
        generation=entry.generation,
        expected=entry.last,
        last=entry.last,
        missed=entry.missed,
        blocked=entry.blocked,
        next=None,
        look=now + RETRY_MS,
        event=Event("InvalidSchedule", problem, now),
    )
