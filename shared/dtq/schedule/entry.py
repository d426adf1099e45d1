"""What is kept of a schedule: its spec, its fire state, its runs and what was told about it. Times are ms since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from dtq.ids import parse_id
from dtq.schedule.spec import ScheduleSpec

__all__ = ["Advance", "Entry", "Event", "FinishedRun", "History", "rfc3339"]

SHOWN_RUNS = 100
"""Most active runs that a status shows."""


def rfc3339(ms: int | None) -> str | None:
    """An instant as the API and Kubernetes write it: UTC, whole seconds."""
    return None if ms is None else datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Event(msgspec.Struct, frozen=True):
    """Something the owner of a schedule should know, as a Kubernetes Event.

    ``reason`` is MissSchedule, TooManyMissedTimes, JobAlreadyActive or InvalidSchedule; ``type`` Normal or Warning.
    """

    reason: str
    message: str
    time: int
    type: str = "Warning"


class FinishedRun(msgspec.Struct, frozen=True):
    """A run that ended. ``state`` is succeeded, failed or cancelled."""

    id: str
    tick: int
    state: str
    finished: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as the scheduler sees it.

    ``owner`` is None for one made through the API, else who manages it (``cluster/namespace``). ``uid`` and
    ``generation`` fence writes: a uid stands for one life of the name, a generation for one version of the spec.
    ``last`` is the tick that was started last; ``missed`` and ``blocked`` the last ticks told as MissSchedule and
    JobAlreadyActive; ``next`` is None when suspended or never. ``runs`` maps ids of active runs to their ticks.
    """

    name: str
    uid: str
    generation: int
    owner: str | None = None
    spec: ScheduleSpec
    created: int
    last: int | None = None
    missed: int | None = None
    blocked: int | None = None
    success: int | None = None
    next: int | None = None
    runs: dict[str, int] = {}

    @property
    def queues(self) -> set[str]:
        """Names of the queues in which it has active runs; more than the template's when that was changed."""
        return {parse_id(run).queue for run in self.runs}

    def status(self) -> dict[str, Any]:
        """The status as the API and the resource show it, times in RFC 3339."""
        newest = sorted(self.runs.items(), key=lambda run: run[1])[-SHOWN_RUNS:]
        return {
            "lastScheduleTime": rfc3339(self.last),
            "lastSuccessfulTime": rfc3339(self.success),
            "nextScheduleTime": rfc3339(self.next),
            "active": [{"jobId": job_id, "scheduledTime": rfc3339(tick)} for job_id, tick in newest],
        }


class History(msgspec.Struct, frozen=True):
    """What is told about a schedule, newest first. The runs are limited by the spec's history limits."""

    events: list[Event]
    succeeded: list[FinishedRun]
    failed: list[FinishedRun]


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an entry's fire state, valid for the state it was decided on: same uid, generation and ``expected``.

    ``expected`` is the entry's ``last`` before. ``run`` is the id of the run started; its tick is ``last``. ``look`` is
    when to decide again if not at ``next``.
    """

    name: str
    uid: str
    generation: int
    expected: int | None
    last: int | None
    missed: int | None
    blocked: int | None
    next: int | None
    look: int | None = None
    run: str | None = None
    event: Event | None = None
