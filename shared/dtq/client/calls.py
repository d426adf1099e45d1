"""HTTP requests and answers of the submitter's API: pure, shared by the two HTTP clients."""

from __future__ import annotations

from typing import Any

import msgspec

from dtq.errors import (
    AccessDenied,
    Conflict,
    DtqError,
    IdempotencyConflict,
    IllegalTransition,
    InvalidRequest,
    InvalidSchedule,
    NotFound,
    QueueDamaged,
    QueueFull,
    Unavailable,
)

__all__ = ["BATCH", "JobInfo", "QueueInfo", "Receipt", "batch_body", "error_of", "read"]

BATCH = 1000
"""Jobs in one POST /submit/batch."""

T = Any


class Receipt(msgspec.Struct, frozen=True):
    """The answer to a submission."""

    id: str
    state: str
    queue: str = ""
    run_at: str | None = None


class JobInfo(msgspec.Struct, frozen=True):
    """A job as GET /jobs/ID shows it. Times are RFC 3339; ``error`` and ``attempts`` are as in the API's reference."""

    id: str
    type: str
    queue: str
    state: str
    priority: str = "normal"
    payload: Any = None
    result: Any = None
    error: dict[str, Any] | None = None
    attempts: list[dict[str, Any]] = []
    progress: dict[str, Any] | None = None
    submitted_at: str | None = None
    run_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    replays: int = 0
    cancel_requested: bool = False
    schedule: str | None = None
    output: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the state is a terminal one."""
        return self.state in ("succeeded", "failed", "cancelled")


class QueueInfo(msgspec.Struct, frozen=True):
    """A queue's numbers. ``demand`` counts the jobs that need a worker now."""

    name: str
    ready: int
    delayed: int
    running: int
    dead: int
    demand: int
    oldest_age_seconds: float = 0.0
    paused: bool = False
    workers: int = 0


def batch_body(bodies: list[bytes]) -> bytes:
    """The body of POST /submit/batch from those of POST /submit."""
    return b'{"jobs":[' + b",".join(bodies) + b"]}"


def read(content: bytes, kind: Any) -> Any:
    """An answer's body as ``kind``.

    Raises:
        DtqError: whoever answered, it was not DTQ.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DtqError(f"this is not an answer of DTQ: {error}") from error


def error_of(status: int, content: bytes, queue: str = "") -> DtqError:
    """The typed error of a problem document (RFC 9457), or of any other answer that is an error."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    problem: dict[str, Any] = found if isinstance(found, dict) else {}
    detail = str(problem.get("detail") or f"HTTP status {status}")
    kind = str(problem.get("type", "")).rpartition(":")[2]
    if status == 409:
        if kind == "illegal-transition":
            return IllegalTransition(detail, str(problem.get("state", "")))
        return IdempotencyConflict(detail) if "idempotency" in kind + detail else Conflict(detail)
    if status == 429:
        return QueueFull(queue) if kind == "queue-full" else Unavailable(detail)
    if status in (401, 403):
        return AccessDenied(detail)
    if status == 404:
        return NotFound(detail)
    if kind == "queue-damaged":
        return QueueDamaged(str(problem.get("queue", queue)), str(problem.get("reason", "")))
    if status >= 500:
        return Unavailable(detail)
    return (InvalidSchedule if kind == "invalid-schedule" else InvalidRequest)(detail, _errors(problem))


def _errors(problem: dict[str, Any]) -> list[tuple[str, str]]:
    listed = problem.get("errors")
    items = listed if isinstance(listed, list) else []
    return [(str(item.get("field", "")), str(item.get("message", ""))) for item in items if isinstance(item, dict)]
