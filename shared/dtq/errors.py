"""The error tree of DTQ.

* DtqError
    * ConfigError - a setting has a wrong value; the start stops with exit code 2
    * InvalidRequest - the caller's input is wrong (HTTP 4xx)
        * UnknownType - no such job type
        * InvalidPayload - the payload does not fit its type's model
        * InvalidSchedule - a cron line, zone or policy that Kubernetes would refuse too
        * InvalidJobId, InvalidCursor - an opaque string that DTQ did not issue
    * AccessDenied - the API key is missing, unknown, or its role does not reach
    * NotFound - no such job, queue or schedule
        * BlobNotFound - no blob of this key
    * BlobTooLarge - the blob has more bytes than its reader takes
    * Conflict - the request contradicts the present state
        * IdempotencyConflict - the key was used with another body
        * IllegalTransition - e.g. retrying a job that has not failed
    * QueueFull - the queue holds MAXQUEUELENGTH jobs
    * QueueDamaged - a key of the queue holds in Redis what DTQ did not write there
    * Unavailable - a server that DTQ needs does not answer
        * QueueUnavailable - Redis/Valkey
            * ReplicasMissing - fewer of its replicas confirmed a write than WAITREPLICAS asks for
        * StoreUnavailable - PostgreSQL
        * BlobUnavailable - the blob store
* HandlerSignal - raised by job handlers to steer the outcome
    * Retry - run again, optionally after a given time
    * Permanent - fail now, whatever retries are left
"""

from __future__ import annotations

from datetime import timedelta

__all__ = [
    "AccessDenied",
    "BlobNotFound",
    "BlobTooLarge",
    "BlobUnavailable",
    "ConfigError",
    "Conflict",
    "DtqError",
    "HandlerSignal",
    "IdempotencyConflict",
    "IllegalTransition",
    "InvalidCursor",
    "InvalidJobId",
    "InvalidPayload",
    "InvalidRequest",
    "InvalidSchedule",
    "NotFound",
    "Permanent",
    "QueueDamaged",
    "QueueFull",
    "QueueUnavailable",
    "ReplicasMissing",
    "Retry",
    "StoreUnavailable",
    "Unavailable",
    "UnknownType",
]


MAX_AFTER = 10 * 365 * 86_400
"""Seconds that ``Retry(after=...)`` may ask for: ten years, which every counter of milliseconds holds."""


class DtqError(Exception):
    """Base of every error DTQ raises on purpose."""


class ConfigError(DtqError):
    """A setting has a wrong value. The message names the variable, the value and what is allowed."""


class InvalidRequest(DtqError):
    """The caller's input is wrong.

    ``errors`` lists ``(path, message)`` pairs; ``path`` names the field as the caller wrote it, such as
    ``payload.to[0]`` or ``jobs[3].priority``.
    """

    def __init__(self, message: str, errors: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []


class UnknownType(InvalidRequest):
    """No job type of this name is registered."""


class InvalidPayload(InvalidRequest):
    """The payload does not fit the model of its job type."""


class InvalidSchedule(InvalidRequest):
    """A cron line, time zone or policy that is not allowed."""


class InvalidJobId(InvalidRequest):
    """The string is not a job id."""


class InvalidCursor(InvalidRequest):
    """The string is not a cursor that a list answer gave."""


class AccessDenied(DtqError):
    """The submitter asks for an API key, does not know the one presented, or its role does not reach."""


class NotFound(DtqError):
    """The named job, queue or schedule does not exist."""


class BlobNotFound(NotFound):
    """The blob store has no blob of this key."""


class BlobTooLarge(DtqError):
    """The blob has more bytes than its reader takes."""


class Conflict(DtqError):
    """The request contradicts the present state."""


class IdempotencyConflict(Conflict):
    """The idempotency key was used before with another body.

    ``index`` is the position, within the submitted batch, of the job concerned.
    """

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class IllegalTransition(Conflict):
    """The job's state does not allow this. ``state`` is the state it is in."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class QueueFull(DtqError):
    """The queue holds its limit of jobs; try again after ``retry_after`` seconds."""

    def __init__(self, queue: str, retry_after: int = 5) -> None:
        super().__init__(f"queue {queue!r} is full")
        self.queue = queue
        self.retry_after = retry_after


class QueueDamaged(DtqError):
    """A key holds in Redis what DTQ did not write there. All else goes on; a person has to look.

    ``queue`` is the queue whose key it is; ``dtq:schedules`` stands for the schedules, ``dtq:queues`` for the names of queues.
    ``reason`` is what Redis said.
    """

    def __init__(self, queue: str, reason: str) -> None:
        super().__init__(f"a key of {queue!r} in Redis is not as DTQ wrote it ({reason}); repair or delete the key")
        self.queue = queue
        self.reason = reason


class Unavailable(DtqError):
    """A server that DTQ needs does not answer."""


class QueueUnavailable(Unavailable):
    """Redis/Valkey does not answer, or refuses writes."""


class ReplicasMissing(QueueUnavailable):
    """Redis/Valkey has the write, but fewer replicas confirmed it than WAITREPLICAS asks for: it may be lost with its server."""


class StoreUnavailable(Unavailable):
    """PostgreSQL does not answer."""


class BlobUnavailable(Unavailable):
    """The blob store does not answer, or refuses access."""


class HandlerSignal(Exception):
    """Base of what a handler may raise to steer the outcome of its job."""


class Retry(HandlerSignal):
    """Run the job again.

    ``after`` is the delay in seconds, or a timedelta; None means the ordinary backoff. The attempt counts against
    ``max_retries``.

    Raises:
        TypeError: ``after`` is neither.
        ValueError: ``after`` is negative, not finite, or more than ten years.
    """

    def __init__(self, reason: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = None if after is None else _seconds(after)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep ``after`` when the signal crosses from a worker's process pool."""
        return (_rebuild_retry, (str(self), self.after))


class Permanent(HandlerSignal):
    """The job can never succeed: end it as failed without further attempts."""


def _seconds(after: float | timedelta) -> float:
    """Checked where it is written, so that the traceback names the handler's line."""
    value = after.total_seconds() if isinstance(after, timedelta) else after
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Retry(after=...) takes seconds or a timedelta, not {type(after).__name__}")
    if not 0 <= value <= MAX_AFTER:  # false for NaN too
        raise ValueError(f"Retry(after=...) takes 0 to {MAX_AFTER} seconds, not {after!r}")
    return float(value)


def _rebuild_retry(reason: str, after: float | None) -> Retry:
    return Retry(reason, after=after)
