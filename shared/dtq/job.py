"""The job: its states, legal transitions and the records in which it is kept.

State machine (drawn in docs/architecture.md)::

    submit --> scheduled --> queued --> running --> succeeded | failed | cancelled
                               ^  ^------- | (handed back, or its worker died)
                               |           v
                               +------- retrying        failed | cancelled --> queued (replay)
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

__all__ = [
    "LANE_PRIORITIES",
    "PRIORITIES",
    "TERMINAL",
    "TRANSITIONS",
    "Attempt",
    "JobError",
    "JobView",
    "NewJob",
    "Priority",
    "State",
    "TerminalJob",
    "can_move",
]


class State(StrEnum):
    """The seven states of a job."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.SCHEDULED: frozenset({State.QUEUED, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.RETRYING, State.QUEUED}),
    State.RETRYING: frozenset({State.QUEUED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}


def can_move(old: State, new: State) -> bool:
    """Whether a job may go from ``old`` to ``new`` in one step."""
    return new in TRANSITIONS[old]


class Priority(StrEnum):
    """Strict priorities: no normal job is claimed while a high one waits in the same queue."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


PRIORITIES: dict[str, str] = {"high": "h", "normal": "n", "low": "l"}
"""Priority name to the one-letter lane of its stream."""

LANE_PRIORITIES: dict[str, str] = {lane: name for name, lane in PRIORITIES.items()} | {"f": "normal"}
"""Lane to priority name. Lane f holds redelivered jobs of every priority; a job's record has its own lane."""


class NewJob(msgspec.Struct, frozen=True, gc=False):
    """A validated job on its way into the queue.

    ``payload`` is JSON text. ``run_at_ms`` and ``delay_ms`` (at most one of them) postpone the first attempt;
    ``timeout`` is in seconds. None for ``timeout`` or ``max_retries`` means the worker's setting.
    ``digest`` fingerprints the request body; it is compared when ``idempotency_key`` is used again.
    """

    type: str
    payload: bytes
    queue: str = "default"
    priority: str = "normal"
    delay_ms: int = 0
    run_at_ms: int | None = None
    timeout: float | None = None
    max_retries: int | None = None
    idempotency_key: str | None = None
    digest: str = ""


class JobError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt did not succeed.

    ``kind`` is one of ``error``, ``permanent``, ``timeout``, ``worker_lost``, ``unknown_type``, ``invalid_payload``,
    ``cancelled``. ``type`` is the exception's class name.
    """

    kind: str
    message: str
    type: str = ""
    traceback: str = ""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One execution of a job: when, by which worker, and how it ended. Times are ms since the epoch.

    ``outcome`` is ``succeeded``, ``failed``, ``retry``, ``cancelled``, ``timeout``, ``lost`` (its worker died) or
    ``running``.
    """

    number: int
    worker: str
    started: int | None = None
    finished: int | None = None
    outcome: str = "running"
    error: JobError | None = None
    logs: list[str] = []


if TYPE_CHECKING:
    OptionalRaw = msgspec.Raw | None
else:
    OptionalRaw = msgspec.Raw  # in a union, msgspec decodes Raw as if it were not there: only null would be taken


class TerminalJob(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The record of a finished job, as the finish script stores it and the outbox carries it to PostgreSQL.

    ``payload`` and ``result`` hold JSON text unparsed. Times are ms since the epoch. The fields up to ``replays`` are
    always written, in this order: the scripts find them at the start of the text.
    """

    id: str
    queue: str
    type: str
    state: State
    submitted: int
    finished: int
    replays: int = msgspec.field(default_factory=lambda: 0)
    payload: msgspec.Raw
    started: int | None = None
    result: OptionalRaw = None
    error: JobError | None = None
    attempts: list[Attempt] = []
    priority: str = "normal"
    timeout: float | None = None
    max_retries: int | None = None
    output: str | None = None
    """Blob key of the file the job produced, if any."""
    schedule: str | None = None
    """Name of the schedule that started it, if any."""


class JobView(msgspec.Struct, frozen=True):
    """A job as the API shows it, whatever state it is in. Times are ms since the epoch; JSON texts are unparsed."""

    id: str
    queue: str
    type: str
    state: State
    priority: str
    payload: bytes
    submitted: int
    run_at: int | None = None
    started: int | None = None
    finished: int | None = None
    result: bytes | None = None
    error: JobError | None = None
    attempts: tuple[Attempt, ...] = ()
    progress: dict[str, object] | None = None
    cancel_requested: bool = False
    timeout: float | None = None
    max_retries: int | None = None
    replays: int = 0
    output: str | None = None
    schedule: str | None = None
