"""The conditions of a resource: Accepted (the spec can be carried out), Synced (it stands in Redis), Ready (jobs will start). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dtq.schedule.entry import Entry
from dtq_operator.accept import Refused, Verdict

__all__ = ["NAME_TAKEN", "REDIS_UNAVAILABLE", "Unwritten", "conditions", "merge"]

REDIS_UNAVAILABLE = "RedisUnavailable"
NAME_TAKEN = "NameTaken"

Condition = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Why an accepted spec does not stand in Redis."""

    reason: str
    message: str


def conditions(verdict: Verdict, written: Entry | Unwritten | None, generation: int) -> list[Condition]:
    """What holds of ``generation``. ``written``: the entry in Redis, why the spec is not there, or None when nothing is."""
    entry = written if isinstance(written, Entry) else None
    if isinstance(verdict, Refused):
        accepted = ("False", verdict.reason, verdict.message)
        synced = ("False", "NotAccepted", _instead(entry))
        ready = ("False", "NotAccepted", f"{verdict.reason}: see condition Accepted")
    elif entry is None:
        why = written if isinstance(written, Unwritten) else Unwritten("NotWritten", "it is not in Redis yet")
        accepted = _ACCEPTED
        synced = ("False", why.reason, why.message)
        ready = ("False", "NotSynced", f"{why.reason}: see condition Synced")
    else:
        accepted = _ACCEPTED
        synced = ("True", "Written", f"Redis has it as schedule {entry.name}")
        ready = _ready(entry)
    told = (("Accepted", accepted), ("Synced", synced), ("Ready", ready))
    return [
        {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation}
        for kind, (status, reason, message) in told
    ]


_ACCEPTED = ("True", "Valid", "the spec can be carried out")


def _instead(entry: Entry | None) -> str:
    if entry is None:
        return "nothing is scheduled until the spec is accepted"
    if entry.spec.suspend:
        # Without its generation: suspending it may have been a change of a spec that was refused, and the entry has that one's.
        return "its last accepted spec stays, suspended, until this one is accepted"
    return f"its last accepted spec goes on until this one is accepted: schedule {entry.spec.schedule}, generation {entry.generation}"


def _ready(entry: Entry) -> tuple[str, str, str]:
    spec = entry.spec
    if spec.suspend:
        return "True", "Suspended", "no job starts while suspend is true"
    if entry.next is None:
        return "False", "NeverFires", f"no date matches the schedule {spec.schedule}"
    if spec.startingDeadlineSeconds == 0:
        return "False", "NeverStarts", "startingDeadlineSeconds is 0, so that every tick is too late; give 10 or more, or leave it out"
    return "True", "Scheduled", "a job starts at every tick"


def merge(current: Iterable[Mapping[str, Any]], wanted: Iterable[Condition], now: str) -> list[Condition]:
    """``wanted`` with the times of their last transition, and whatever other conditions there are."""
    before = {str(condition.get("type")): condition for condition in current}
    merged: list[Condition] = []
    for condition in wanted:
        old = before.pop(condition["type"], None)
        same = old is not None and old.get("status") == condition["status"]
        since = old.get("lastTransitionTime") if same and old is not None else None
        merged.append({**condition, "lastTransitionTime": since or now})
    return [*merged, *(dict(other) for other in before.values())]
