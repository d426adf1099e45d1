"""Rows that PostgreSQL refuses: make them storable rather than let one hold up all others. Pure."""

from __future__ import annotations

import re

import msgspec

from dtq.job import Attempt, JobError, State, TerminalJob

__all__ = ["cleaned", "reduced"]

# PostgreSQL texts hold no NUL; U+001F is what insert.sql joins values with; lone surrogates are not characters.
_BAD = re.compile("[\0\x1f\ud800-\udfff]")
INT_MAX = 2**31 - 1


def cleaned(row: TerminalJob) -> TerminalJob:
    """The row with its texts made valid: U+FFFD in place of characters that cannot be stored.

    Payload and result stay what they are if they are JSON.
    """
    return msgspec.structs.replace(
        row,
        type=_text(row.type),
        queue=_text(row.queue),
        priority=_text(row.priority),
        payload=_json(row.payload),
        result=None if row.result is None else _json(row.result),
        error=None if row.error is None else _error(row.error),
        attempts=[_attempt(attempt) for attempt in row.attempts],
        output=None if row.output is None else _text(row.output),
        schedule=None if row.schedule is None else _text(row.schedule),
        replays=min(max(row.replays, 0), INT_MAX),
        max_retries=None if row.max_retries is None else min(max(row.max_retries, 0), INT_MAX),
    )


def reduced(row: TerminalJob, reason: str) -> TerminalJob:
    """The least that still says how the job ended; ``reason`` takes the place of its payload."""
    row = cleaned(row)
    note = f"not stored: {_text(reason)[:500]}"
    error = row.error
    if row.state is State.SUCCEEDED:
        error = None
    elif error is not None:
        error = JobError(error.kind[:100], error.message[:1000], error.type[:200])
    return msgspec.structs.replace(row, payload=msgspec.Raw(msgspec.json.encode(note)), result=None, error=error, attempts=[], timeout=None)


def _text(text: str) -> str:
    return _BAD.sub("\N{REPLACEMENT CHARACTER}", text)


def _error(error: JobError) -> JobError:
    return JobError(_text(error.kind), _text(error.message), _text(error.type), _text(error.traceback))


def _attempt(attempt: Attempt) -> Attempt:
    return msgspec.structs.replace(
        attempt,
        worker=_text(attempt.worker),
        outcome=_text(attempt.outcome),
        error=None if attempt.error is None else _error(attempt.error),
        logs=[_text(line) for line in attempt.logs],
    )


def _json(raw: msgspec.Raw) -> msgspec.Raw:
    """Valid JSON: the text itself, or a string that holds it."""
    data = bytes(raw)
    text = data.decode("utf-8", "replace")
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        if not _only_surrogates(text):
            return msgspec.Raw(msgspec.json.encode(_text(text)))
    return msgspec.Raw(text)


def _only_surrogates(text: str) -> bool:
    """Whether lone surrogate escapes, which PostgreSQL's json takes, are all that keeps a text from being JSON."""
    try:
        msgspec.json.decode(re.sub(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", "?", text))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
