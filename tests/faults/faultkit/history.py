"""The history: what every client, handler and fault saw and did, one JSON line an event, on one clock.

Each process appends to a file of its own in the folder HISTORY. A line is one write of less than a page, so that SIGKILL
leaves whole lines only; no line is ever taken back.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Event", "Log", "read_history"]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event. Which fields are set depends on ``kind``.

    Clients (``who`` is the client's name):

    - ``sent``: a submission leaves: ``tag`` (unique for each job wanted), ``key`` (idempotency key or ""), ``plan`` (its payload
      but for the tag), ``fields`` (all else that it asks for)
    - ``accepted``: 202 or 200: ``tag``, ``job`` (id), ``status``
    - ``refused``: another answer, so that it is known not to have been taken: ``tag``, ``status``, ``text``
    - ``unanswered``: nobody knows: ``tag``, ``text``
    - ``cancel_sent``, ``cancelled`` (confirmed: the answer said cancelled, or a later look did), ``cancel_refused``: ``job``
    - ``retry_sent``, ``retried``, ``retry_refused``: ``job``, put back by hand, or known not to be
    - ``seen``: a look at the job: ``job``, ``state``, ``replays``
    - ``faulty``: an answer that says that the service itself failed, besides the event of what was asked: ``status``, ``text``

    Handlers (``who`` is "worker PID"): ``start`` and ``end``: ``job``, ``tag``, ``attempt`` (which a retry by hand begins anew
    with 1), ``token`` (of this execution), ``state`` (end: ok, error, permanent, cancelled), ``plan``, ``pid`` (of the worker, also
    where one of its processes runs the job).

    Faults (``who`` is "fault"): ``fault``: ``text`` says what was done (kill, stop, cont, cut ...) and ``target`` to whom;
    ``pid`` is the process that was hit, if it was one.

    A client does one thing after the other: what an event answers was asked after the client's event before it.
    """

    kind: str
    at: int
    """Nanoseconds of the machine's monotonic clock, which all processes share."""
    who: str = ""
    tag: str = ""
    key: str = ""
    job: str = ""
    status: int = 0
    state: str = ""
    replays: int = 0
    attempt: int = 0
    token: str = ""
    plan: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    target: str = ""
    text: str = ""
    pid: int = 0


class Log:
    """Appends events to a file of its own."""

    def __init__(self, folder: str | os.PathLike[str], who: str) -> None:
        """A file in ``folder`` for ``who``."""
        self.who = who
        name = f"{who.replace(' ', '-')}-{os.getpid()}.jsonl"
        self._file = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, kind: str, **fields: Any) -> Event:
        """Append an event that happens now; it is written when this returns."""
        event = Event(kind=kind, at=time.monotonic_ns(), who=self.who, **fields)
        os.write(self._file, msgspec.json.encode(event) + b"\n")
        return event

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_history(folder: str | os.PathLike[str]) -> list[Event]:
    """All events of a folder, in the order of time."""
    decoder = msgspec.json.Decoder(Event)
    events = [decoder.decode(line) for path in Path(folder).glob("*.jsonl") for line in path.read_bytes().splitlines()]
    return sorted(events, key=lambda event: event.at)
