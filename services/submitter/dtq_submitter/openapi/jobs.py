"""Answers under /jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dtq.job import Priority, State
from dtq_submitter.openapi.answers import LOCATION, Answer, json_answer
from dtq_submitter.openapi.models import Count, Instant, JobId, Model, Name, Seconds

__all__ = ["CANCELLED", "CANCELLING", "JOB", "JOBS", "OUTPUT", "RETRIED", "Cancelled", "Cancelling", "Job", "JobPage", "Retried"]


class Failure(Model):
    """Why an attempt, or the job, did not succeed."""

    kind: Annotated[str, Field(examples=["error"])]
    """error, permanent, timeout, worker_lost, unknown_type, invalid_payload or cancelled."""
    message: str
    type: str = ""
    """The exception's class."""
    traceback: str = ""


class JobAttempt(Model):
    """One execution of a job."""

    number: Annotated[int, Field(ge=1)]
    worker: str
    started_at: Instant | None
    finished_at: Instant | None
    outcome: Annotated[str, Field(examples=["retry"])]
    """running, succeeded, retry, failed, cancelled or lost (its worker died)."""
    error: Failure | None
    logs: list[str]


class Job(Model):
    """A job. Every field is always there; null is: not yet, or none."""

    id: JobId
    type: Annotated[str, Field(examples=["email"])]
    queue: Name
    state: State
    priority: Priority
    payload: Any
    """As it was submitted."""
    result: Any
    """What the handler returned."""
    error: Failure | None
    """Why it did not succeed."""
    attempts: list[JobAttempt]
    progress: dict[str, Any] | None
    """The latest report of a running job: fraction and message."""
    submitted_at: Instant
    run_at: Instant | None
    """When the next attempt is due; of a scheduled or retrying job."""
    started_at: Instant | None
    """Start of the last attempt."""
    finished_at: Instant | None
    timeout: Seconds | None
    """Seconds an attempt may run; null: the worker's setting."""
    max_retries: Count | None
    """Retries after the first attempt; null: the worker's setting."""
    replays: Count
    """How often it was sent back by retry."""
    cancel_requested: bool
    """It runs, and its worker was asked to stop it."""
    schedule: str | None
    """Name of the schedule that started it."""
    output: str | None
    """Path of its file."""


class JobPage(Model):
    """A page of jobs."""

    jobs: list[Job]
    next_cursor: str | None
    """The parameter cursor of the next page; null: this is the last one."""


class Cancelled(Model):
    """A job that will not run."""

    id: JobId
    state: Literal["cancelled"]


class Cancelling(Model):
    """A job whose worker was asked to stop it."""

    id: JobId
    state: Literal["running"]
    cancel_requested: Literal[True]


class Retried(Model):
    """A job that is back in its queue."""

    id: JobId
    state: State


_ID = "0193f0c2a1b00000n-default"
_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "type": "email",
    "queue": "default",
    "state": "succeeded",
    "priority": "normal",
    "payload": {"to": "user@example.com", "subject": "Test Email", "body": "This is a test email."},
    "result": {"message_id": "<1@dtq>"},
    "error": None,
    "attempts": [
        {
            "number": 1,
            "worker": "worker-1",
            "started_at": "2026-03-01T09:00:00.012Z",
            "finished_at": "2026-03-01T09:00:00.173Z",
            "outcome": "succeeded",
            "error": None,
            "logs": [],
        }
    ],
    "progress": None,
    "submitted_at": "2026-03-01T09:00:00.000Z",
    "run_at": None,
    "started_at": "2026-03-01T09:00:00.012Z",
    "finished_at": "2026-03-01T09:00:00.173Z",
    "timeout": 30,
    "max_retries": None,
    "replays": 0,
    "cancel_requested": False,
    "schedule": None,
    "output": None,
}

JOB = json_answer("The job.", Job, _EXAMPLE)
JOBS = json_answer("A page of jobs.", JobPage, {"jobs": [_EXAMPLE], "next_cursor": None})
CANCELLED = json_answer("It is cancelled, now or before.", Cancelled, {"id": _ID, "state": "cancelled"})
CANCELLING = json_answer("It runs; its worker was asked to stop it.", Cancelling, {"id": _ID, "state": "running", "cancel_requested": True})
RETRIED = json_answer("It is back in its queue.", Retried, {"id": _ID, "state": "queued"}, LOCATION)
OUTPUT: Answer = {
    "description": "The file, of the media type that its name says.",
    "headers": {
        "Content-Disposition": {"description": "attachment, with the file's name.", "schema": {"type": "string"}},
        "Content-Length": {"description": "Its size in bytes.", "schema": {"type": "integer"}},
        "X-Content-Type-Options": {"description": "nosniff", "schema": {"type": "string"}},
    },
    "content": {"*/*": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}, "example": "city,total\nOslo,5\n"}},
}
