"""How an attempt ended, and what that means for the job: pure decisions."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

import msgspec

from dtq.errors import Permanent, Retry
from dtq.job import Attempt, JobError, State, TerminalJob
from dtq.queue.claims import ClaimedJob, Finish
from dtq.retry import Backoff, decide

__all__ = ["Ending", "Outcome", "Policy", "conclude", "describe", "trace_of", "unrecordable", "words"]

MAX_TEXT = 8000
"""Characters kept of an error message or traceback."""

_encode = msgspec.json.encode
_well_formed = msgspec.json.Decoder(msgspec.Raw).decode
_NULL = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a job gets that names no limits of its own."""

    max_retries: int
    backoff: Backoff


class Outcome(msgspec.Struct, eq=False):
    """How an attempt ended.

    ``kind``: succeeded, failed (``error`` and ``cause`` say why), cancelled, or handed_back (it did not count).
    Times in ms since the epoch; ``result`` is JSON text.
    """

    kind: str
    started: int
    finished: int
    result: bytes | None = None
    error: JobError | None = None
    cause: BaseException | None = None
    output: str | None = None
    logs: list[str] = []


class Ending(msgspec.Struct, eq=False):
    """What the queue is told (``finish``), the row for PostgreSQL if the job is over, and the label for metrics."""

    finish: Finish
    row: TerminalJob | None
    label: str
    outcome: Outcome
    tries: int = 0
    """How often it was refused when sent alone."""
    refused_at: int | None = None
    """How many endings of its queue had been accepted when it was first refused."""
    replaced: bool = False
    """Whether it stands for an ending that was refused again and again."""


def _clean(text: str) -> str:
    """Text that JSON and PostgreSQL both take: no NUL, no lone surrogates, bounded."""
    return text[:MAX_TEXT].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def words(error: BaseException) -> str:
    """An exception's message, whatever its class makes of str()."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001 - a third party's class may raise anything
        return f"(its message cannot be shown: {type(fault).__name__})"


def trace_of(error: BaseException) -> str:
    """What a job keeps of where an exception came from.

    Retry is expected, and may come with every attempt: of its cause one line is kept. Permanent is meant too, but ends
    the job: its cause, if it names one, is kept in full.
    """
    cause = error.__cause__
    try:
        if isinstance(error, Retry):
            return "" if cause is None else f"caused by {type(cause).__name__}: {words(cause)}"
        if isinstance(error, Permanent) and cause is None:
            return ""
        return "".join(traceback.format_exception(error))
    except Exception as fault:  # noqa: BLE001 - a third party's class may make anything of itself
        return f"(its traceback cannot be shown: {type(fault).__name__})"


def describe(error: BaseException, kind: str = "error", trace: str | None = None) -> JobError:
    """An exception as a job keeps it; ``trace`` replaces what :func:`trace_of` finds."""
    if trace is None:
        trace = trace_of(error)
    message = _clean(words(error)) or type(error).__name__
    return JobError(kind, message, type(error).__name__, _clean(trace[-MAX_TEXT:]))


def unrecordable(outcome: Outcome, fault: Exception) -> Outcome:
    """The least that can be said of an attempt whose ``outcome`` cannot be recorded because of ``fault``."""
    error = JobError("error", _clean(f"the attempt's outcome could not be recorded: {words(fault)}"), type(fault).__name__)
    return Outcome("failed", outcome.started, outcome.finished, error=error, cause=fault)


def conclude(job: ClaimedJob, worker: str, outcome: Outcome, policy: Policy) -> Ending:
    """What becomes of ``job`` after this attempt."""
    if outcome.kind == "handed_back":
        return Ending(Finish(job, "h"), None, "handed_back", outcome)
    if outcome.kind == "succeeded":
        return _end(job, worker, outcome, State.SUCCEEDED)
    if outcome.kind == "cancelled":
        return _end(job, worker, outcome, State.CANCELLED)
    limit = policy.max_retries if job.max_retries is None else job.max_retries
    decision = decide(outcome.cause or Permanent(), job.failures + 1, limit, policy.backoff)
    if decision.retry_in is None:
        return _end(job, worker, outcome, State.FAILED)
    attempt = Attempt(job.number, worker, outcome.started, outcome.finished, "retry", outcome.error, outcome.logs)
    return Ending(Finish(job, "r", _encode(attempt), int(decision.retry_in * 1000)), None, "retried", outcome)


def _payload(text: bytes, error: JobError | None) -> msgspec.Raw:
    """The payload as JSON: itself, or, when it is none, a string that holds it. Else it would spoil all of its batch."""
    try:
        if error is not None and error.kind in ("invalid_payload", "unknown_type"):
            text.decode()  # no handler's model has read it
        return _well_formed(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.Raw(_encode(text.decode("utf-8", "replace")))


def _end(job: ClaimedJob, worker: str, outcome: Outcome, state: State) -> Ending:
    attempt = Attempt(job.number, worker, outcome.started, outcome.finished, state.value, outcome.error, outcome.logs)
    row = TerminalJob(
        id=job.id,
        queue=job.queue,
        type=job.type,
        state=state,
        submitted=job.submitted,
        finished=outcome.finished,
        replays=job.replays,
        payload=_NULL if job.defect else _payload(job.payload, outcome.error),
        started=outcome.started,
        result=None if outcome.result is None else msgspec.Raw(outcome.result),
        error=outcome.error,
        attempts=[*job.history, attempt],
        priority=job.priority,
        timeout=job.timeout,
        max_retries=job.max_retries,
        output=outcome.output,
        schedule=job.schedule,
    )
    return Ending(Finish(job, "f" if state is State.FAILED else "k", _encode(row)), row, state.value, outcome)
