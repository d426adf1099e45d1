"""What to submit: the same for every client."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from dtq.config import QUEUE_NAME
from dtq.errors import InvalidRequest
from dtq.job import PRIORITIES, NewJob
from dtq.requests import delays_of, parse_options, request_digest

__all__ = ["Job", "body_of", "new_job"]

_encode = msgspec.json.encode
_NO_OPTIONS = (None, None, None, None, None)


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
        InvalidRequest: the payload cannot be written as JSON, or a field has a value that the submitter would refuse too.
    """
    try:
        payload = _encode(job.payload)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"the payload is not JSON: {error}", [("payload", str(error))]) from error
    options = (job.delay, job.run_at, job.timeout, job.max_retries, job.idempotency_key)
    if options == _NO_OPTIONS and job.priority in PRIORITIES and _is_queue(job.queue):
        return NewJob(job.type, payload, job.queue, job.priority)
    delay, run_at, timeout, retries, key = options
    request = parse_options(
        queue=job.queue, priority=job.priority, delay=delay, run_at=run_at, timeout=timeout, max_retries=retries, idempotency_key=key
    )
    delay_ms, run_at_ms = delays_of(request)
    made = NewJob(job.type, payload, job.queue, job.priority, delay_ms, run_at_ms, request.timeout, request.max_retries, key)
    return made if key is None else msgspec.structs.replace(made, digest=request_digest(made))


@lru_cache(1024)
def _is_queue(name: str) -> bool:
    return QUEUE_NAME.fullmatch(name) is not None
