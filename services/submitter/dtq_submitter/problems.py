"""Errors as RFC 9457 problem documents: which status an error has, and what is told about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from dtq.errors import (
    BlobNotFound,
    Conflict,
    DtqError,
    IllegalTransition,
    InvalidRequest,
    InvalidSchedule,
    NotFound,
    QueueDamaged,
    QueueFull,
    QueueUnavailable,
    ReplicasMissing,
    Unavailable,
)
from dtq.requests import MalformedJson

__all__ = ["MEDIA_TYPE", "Problem", "ProblemError", "problem_of"]

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
"""Retry-After of a 503."""

Errors = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer that is an error. ``kind`` ends the type URI, and is stable; ``errors`` are (field, message)."""

    status: int
    kind: str
    detail: str
    errors: Errors = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)

    def body(self, instance: str) -> bytes:
        """The document; ``instance`` is the path that was asked for."""
        document: dict[str, object] = {
            "type": f"urn:dtq:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance[:500],
            **self.extra,
        }
        if self.errors:
            document["errors"] = [{"field": name, "message": message} for name, message in self.errors]
        return msgspec.json.encode(document)


class ProblemError(Exception):
    """Raised by endpoints to answer with a problem that no error of DTQ stands for."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def problem_of(error: Exception) -> Problem:
    """The answer for an error. What DTQ did not raise on purpose says nothing of its insides."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, InvalidRequest):
        return _invalid(error)
    if isinstance(error, NotFound):
        kind = "no-output" if isinstance(error, BlobNotFound) else "not-found"
        return Problem(404, kind, str(error))
    if isinstance(error, IllegalTransition):
        return Problem(409, "illegal-transition", str(error), extra={"state": error.state})
    if isinstance(error, Conflict):
        return Problem(409, "conflict", str(error))
    if isinstance(error, QueueFull):
        detail = f"{error}; send it again in {error.retry_after} s"
        return Problem(429, "queue-full", detail, headers={"Retry-After": str(error.retry_after)})
    if isinstance(error, QueueDamaged):
        return Problem(500, "queue-damaged", str(error), extra={"queue": error.queue, "reason": error.reason})
    if isinstance(error, Unavailable):
        return _unavailable(error)
    if isinstance(error, DtqError):
        return Problem(400, "refused", str(error))
    return Problem(500, "internal", "the server failed to handle this request; its log says why")


def _invalid(error: InvalidRequest) -> Problem:
    if isinstance(error, MalformedJson):
        return Problem(400, "malformed-json", str(error))
    kind = "invalid-schedule" if isinstance(error, InvalidSchedule) else "invalid-request"
    return Problem(422, kind, str(error)[:1000], error.errors)


def _unavailable(error: Unavailable) -> Problem:
    # The driver's words name hosts and ports; they are for the log.
    detail = "the storage behind this request does not answer; try again"
    if isinstance(error, QueueUnavailable):
        what = str(error) if isinstance(error, ReplicasMissing) else "the queue (Redis) does not answer"
        detail = f"{what}; try again. A job whose answer was lost may have been taken: with an idempotency key, sending it again is safe"
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(RETRY_SECONDS)})
