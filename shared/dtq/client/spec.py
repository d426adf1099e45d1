"""What to submit: the same for every client."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import msgspec

from dtq.errors import InvalidRequest
from dtq.job import PRIORITIES, NewJob
from dtq.requests import request_digest

__all__ = ["Job", "body_of", "new_job"]

_encode = msgspec.json.encode


class Job(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A job to submit.

    ``payload`` is anything that JSON can hold. ``delay`` (seconds) or ``run_at`` (with a time zone) postpone it.
    ``timeout`` is in seconds. None means the type's or the worker's setting. A submission repeated under the same
    ``idempotency_key`` gives the same job: with one, every call may be tried again safely.
    """

    type: str
    payload: Any
    queue: str = "default"
    priority: str = "normal"
    delay: float | None = None
    run_at: datetime | None = None
    timeout: float | None = None
    max_retries: int | None = None
    idempotency_key: str | None = None


def body_of(job: Job) -> bytes:
    """The body of POST /submit.

    Raises:
        InvalidRequest: the payload cannot be written as JSON.
    """
    try:
        return _encode(job)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"the payload is not JSON: {error}", [("payload", str(error))]) from error


def new_job(job: Job) -> NewJob:
    """The job as the queue takes it, its payload unchecked against any model.

    Raises:
        InvalidRequest: the payload cannot be written as JSON, or a field has no legal value.
    """
    try:
        payload = _encode(job.payload)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"the payload is not JSON: {error}", [("payload", str(error))]) from error
    if job.priority not in PRIORITIES:
        raise InvalidRequest(f"priority {job.priority!r} is not high, normal or low", [("priority", "use high, normal or low")])
    if job.delay is None and job.run_at is None and job.idempotency_key is None:
        return NewJob(job.type, payload, job.queue, job.priority, 0, None, job.timeout, job.max_retries)
    if job.delay is not None and job.run_at is not None:
        raise InvalidRequest("delay and run_at exclude each other", [("run_at", "not together with delay; give one of them")])
    if job.run_at is not None and job.run_at.tzinfo is None:
        raise InvalidRequest("run_at has no time zone", [("run_at", "give a datetime with tzinfo")])
    delay_ms = math.ceil((job.delay or 0) * 1000)
    run_at_ms = None if job.run_at is None else max(0, math.ceil(job.run_at.timestamp() * 1000))
    key = job.idempotency_key
    made = NewJob(job.type, payload, job.queue, job.priority, delay_ms, run_at_ms, job.timeout, job.max_retries, key)
    return made if key is None else msgspec.structs.replace(made, digest=request_digest(made))
