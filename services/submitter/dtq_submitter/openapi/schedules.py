"""Answers under /schedules, and the body of PUT, which FastAPI does not read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from dtq.schedule.spec import ScheduleSpec
from dtq_submitter.openapi.answers import LOCATION, REF, Answer, json_answer
from dtq_submitter.openapi.models import CamelModel, Instant, JobId, Model

__all__ = [
    "CHANGED",
    "CREATED",
    "DELETED",
    "SCHEDULE",
    "SCHEDULES",
    "SPEC_BODY",
    "TICKS",
    "TRIGGERED",
    "Schedule",
    "SchedulePage",
    "Ticks",
    "Triggered",
]


class ActiveRun(CamelModel):
    """A run that has not ended."""

    job_id: JobId
    scheduled_time: Instant


class ScheduleStatus(CamelModel):
    """Where a schedule stands; null is: not yet, or never."""

    last_schedule_time: Instant | None
    """The tick that was started last."""
    last_successful_time: Instant | None
    next_schedule_time: Instant | None
    """Null when suspended."""
    active: list[ActiveRun]
    """At most 100, the newest."""


class ScheduleEvent(CamelModel):
    """Something its owner should know."""

    type: Annotated[str, Field(examples=["Warning"])]
    reason: Annotated[str, Field(examples=["MissSchedule"])]
    """MissSchedule, TooManyMissedTimes, JobAlreadyActive or InvalidSchedule."""
    message: str
    time: Instant


class EndedRun(CamelModel):
    """A run that has ended."""

    job_id: JobId
    state: Annotated[str, Field(examples=["succeeded"])]
    """succeeded, failed or cancelled."""
    scheduled_time: Instant
    finished_time: Instant


class ScheduleHistory(CamelModel):
    """Newest first; the runs up to the spec's limits."""

    events: list[ScheduleEvent]
    succeeded: list[EndedRun]
    failed: list[EndedRun]


class ListedSchedule(CamelModel):
    """A schedule in a list."""

    name: Annotated[str, Field(examples=["nightly-report"])]
    owner: str | None
    """Who manages it, as cluster/namespace; null: the API."""
    created_at: Instant
    spec: ScheduleSpec
    status: ScheduleStatus


class Schedule(ListedSchedule):
    """A schedule with its history."""

    history: ScheduleHistory


class SchedulePage(Model):
    """A page of schedules."""

    schedules: list[ListedSchedule]
    next_cursor: str | None
    """The parameter cursor of the next page; null: this is the last one."""


class Ticks(Model):
    """Times at which a schedule fires."""

    ticks: list[Instant]


class Triggered(Model):
    """The job that was started."""

    id: JobId


_SPEC: dict[str, Any] = {
    "schedule": "0 3 * * *",
    "timeZone": "Europe/Berlin",
    "concurrencyPolicy": "Forbid",
    "jobTemplate": {
        "type": "email",
        "payload": {"to": "user@example.com", "subject": "Good morning", "body": "It is three o'clock."},
    },
}
_LISTED: dict[str, Any] = {
    "name": "nightly-report",
    "owner": None,
    "createdAt": "2026-03-01T09:00:00.000Z",
    "spec": ScheduleSpec.model_validate(_SPEC).model_dump(mode="json"),
    "status": {
        "lastScheduleTime": "2026-03-02T02:00:00Z",
        "lastSuccessfulTime": "2026-03-02T02:00:01Z",
        "nextScheduleTime": "2026-03-03T02:00:00Z",
        "active": [],
    },
}
_RUN: dict[str, Any] = {
    "jobId": "0193f3a8b000a1b2c3d4e5ft-default",
    "state": "succeeded",
    "scheduledTime": "2026-03-02T02:00:00.000Z",
    "finishedTime": "2026-03-02T02:00:01.000Z",
}
_EXAMPLE: dict[str, Any] = {**_LISTED, "history": {"events": [], "succeeded": [_RUN], "failed": []}}

SCHEDULE = json_answer("The schedule.", Schedule, _EXAMPLE)
SCHEDULES = json_answer("A page of schedules, by name.", SchedulePage, {"schedules": [_LISTED], "next_cursor": None})
CHANGED = json_answer("It was there, and is now like this.", Schedule, _EXAMPLE)
CREATED = json_answer("It is new.", Schedule, _EXAMPLE)
DELETED: Answer = {"description": "It is gone."}
TICKS = json_answer("The times, in order; none when it never fires.", Ticks, {"ticks": ["2026-03-02T02:00:00Z", "2026-03-03T02:00:00Z"]})
TRIGGERED = json_answer("The job is in its queue.", Triggered, {"id": "0193f3a8b000a1b2c3d4e5ft-default"}, LOCATION)

SPEC_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "The spec, with the names of the ScheduledJob resource.",
        "required": True,
        "content": {"application/json": {"schema": {"$ref": REF.format(model="ScheduleSpec")}, "example": _SPEC}},
    }
}
