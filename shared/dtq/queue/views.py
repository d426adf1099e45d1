"""Script replies to the records of ``dtq.job``: pure functions.

What Redis holds may have been damaged by hand, so nothing here trusts more than that bytes come back.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dtq.ids import submitted_ms
from dtq.job import LANE_PRIORITIES, Attempt, JobView, State, TerminalJob

__all__ = ["decode_attempts", "decode_options", "live_view", "read_terminal", "terminal_view"]

_terminal = msgspec.json.Decoder(TerminalJob)
_terminals = msgspec.json.Decoder(list[TerminalJob])
_attempts = msgspec.json.Decoder(list[Attempt])


def read_terminal(text: bytes) -> TerminalJob | None:
    """The record of one finished job; None when it is damaged, as if Redis had forgotten the job."""
    try:
        return _terminal.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = _leniently(b"[" + text + b"]")
        return found[0] if found else None


def decode_terminals(text: bytes) -> list[TerminalJob] | None:
    """The records of one outbox entry; None when it was not written by DTQ's scripts."""
    try:
        return _terminals.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _leniently(text)


def _leniently(text: bytes) -> list[TerminalJob] | None:
    """Records whose payload or result is JSON that msgspec refuses: lone surrogates, as ``\\ud800``, are allowed by RFC 8259."""
    try:
        rows = json.loads(text.decode("utf-8", "replace"))
        return [_from_plain(row) for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError, msgspec.DecodeError):
        return None


def _from_plain(row: dict[str, Any]) -> TerminalJob:
    payload, result = row.pop("payload"), row.pop("result", None)
    job = _terminal.decode(json.dumps({**row, "payload": None}))
    raw = None if result is None else msgspec.Raw(json.dumps(result).encode())
    return msgspec.structs.replace(job, payload=msgspec.Raw(json.dumps(payload).encode()), result=raw)


def decode_attempts(history: bytes) -> tuple[Attempt, ...]:
    """The attempts in a record's history field; none when it is damaged."""
    if not history:
        return ()
    try:
        return tuple(_attempts.decode(b"[" + history + b"]"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()


def decode_options(text: bytes) -> dict[str, Any]:
    """A job's options; none when they are damaged."""
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def terminal_view(job: TerminalJob) -> JobView:
    """A finished job as the API shows it."""
    return JobView(
        id=job.id,
        queue=job.queue,
        type=job.type,
        state=job.state,
        priority=job.priority,
        payload=bytes(job.payload),
        submitted=job.submitted,
        started=job.started,
        finished=job.finished,
        result=None if job.result is None else bytes(job.result),
        error=job.error,
        attempts=tuple(job.attempts),
        timeout=job.timeout,
        max_retries=job.max_retries,
        replays=job.replays,
        output=job.output,
        schedule=job.schedule,
    )


def _json(text: bytes) -> bytes:
    """A payload that is JSON as it is; one that somebody broke by hand as a JSON string."""
    try:
        text.decode()
        msgspec.json.decode(text, type=msgspec.Raw)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return msgspec.json.encode(text.decode(errors="replace"))
    return text


def _whole(value: bytes | None, default: int = 0) -> int:
    try:
        return int(value or default)
    except ValueError:
        return default


def live_view(job_id: str, queue: str, reply: list[Any]) -> JobView:
    """A job that is not finished, from what the lookup script answers after 'live'."""
    now, flat, _lane, _entry, worker, idle, cancel_asked, progress = reply
    rec: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))
    options = decode_options(rec.get(b"o", b""))
    attempts = decode_attempts(rec.get(b"a", b""))
    state = State.QUEUED
    started = None
    if worker:
        state = State.RUNNING
        started = now - idle
        number = attempts[-1].number + 1 if attempts else 1
        attempts = (*attempts, Attempt(number, worker.decode(errors="replace"), started))
    elif rec.get(b"st") in (b"scheduled", b"retrying"):
        state = State(rec[b"st"].decode())
    return JobView(
        id=job_id,
        queue=queue,
        type=rec.get(b"t", b"").decode(errors="replace"),
        state=state,
        priority=LANE_PRIORITIES.get(rec.get(b"lane", b"n").decode(errors="replace"), "normal"),
        payload=_json(rec.get(b"p", b"null")),
        submitted=_whole(rec.get(b"sub"), submitted_ms(job_id)),
        run_at=_whole(rec.get(b"due")) or None if state in (State.SCHEDULED, State.RETRYING) else None,
        started=started,
        attempts=attempts,
        progress=_progress(progress),
        cancel_requested=bool(cancel_asked),
        timeout=options.get("timeout"),
        max_retries=options.get("max_retries"),
        replays=_whole(rec.get(b"rp")),
        schedule=options.get("schedule"),
    )


def _progress(text: bytes) -> dict[str, object] | None:
    found = decode_options(text)
    return found or None
