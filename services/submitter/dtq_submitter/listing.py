"""GET /jobs: live jobs, newest first, then finished ones, newest first, as one list with one cursor.

Jobs move while a caller pages: one that finishes between two pages can be on both. A job that has just finished is in
the list once its row is in PostgreSQL, which takes milliseconds while that is up.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from dtq.errors import InvalidCursor
from dtq.job import TERMINAL, JobView, State, TerminalJob
from dtq.queue import LiveFilter, Queue
from dtq.queue.views import terminal_view
from dtq.storage import JobFilter, Store

__all__ = ["Wanted", "decode_cursor", "encode_cursor", "list_jobs"]

VERSION = 1
ROUNDS = 20
"""Looks at one of the two sources for one page: a filter that matches little gives short pages rather than slow ones."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list's filters; None is any. Times in ms, ``since_ms <= submitted < until_ms``."""

    states: frozenset[State] | None = None
    type: str | None = None
    queue: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def live(self) -> bool:
        """Whether jobs that are not finished can match."""
        return self.states is None or bool(self.states - TERMINAL)

    @property
    def finished(self) -> bool:
        """Whether finished jobs can match."""
        return self.states is None or bool(self.states & TERMINAL)


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where the next page starts: ``live`` is the queue's own cursor, else after ``(submitted, id)`` of a finished job."""

    version: int
    live: str | None = None
    submitted: int | None = None
    id: str | None = None


_decoder = msgspec.json.Decoder(_Cursor)


def encode_cursor(cursor: _Cursor) -> str:
    """The opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str) -> _Cursor:
    """Read a cursor.

    Raises:
        InvalidCursor: no list gave it.
    """
    try:
        cursor = _decoder.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        legal = cursor.version == VERSION and (cursor.submitted is None) == (cursor.id is None) and "\0" not in (cursor.id or "")
    except (ValueError, binascii.Error, msgspec.DecodeError):
        legal = False
    if not legal:
        raise InvalidCursor("the cursor is not one that a list gave", [("cursor", "use next_cursor of the previous page, unchanged")])
    return cursor


async def list_jobs(queue: Queue, store: Store, wanted: Wanted, cursor: str | None, limit: int) -> tuple[list[JobView], str | None]:
    """A page of at most ``limit`` jobs, and the next page's cursor or None.

    Raises:
        InvalidCursor, QueueUnavailable, StoreUnavailable: see there.
    """
    place = decode_cursor(cursor) if cursor else _Cursor(VERSION)
    found: list[JobView] = []
    if place.submitted is None and wanted.live:
        found, following = await _live(queue, wanted, place.live, limit)
        if following is not None:
            return found, encode_cursor(_Cursor(VERSION, live=following))
    if not wanted.finished:
        return found, None
    if len(found) == limit:
        # Live jobs filled the page exactly; the finished ones start on the next, at a place before the first of them.
        return found, encode_cursor(_Cursor(VERSION, submitted=2**42, id="~"))
    after = None if place.submitted is None or place.id is None else (place.submitted, place.id)
    finished, last = await _finished(queue, store, wanted, after, limit - len(found))
    return found + finished, None if last is None else encode_cursor(_Cursor(VERSION, submitted=last[0], id=last[1]))


async def _live(queue: Queue, wanted: Wanted, cursor: str | None, limit: int) -> tuple[list[JobView], str | None]:
    chosen = LiveFilter(wanted.states, wanted.type, wanted.queue, wanted.since_ms, wanted.until_ms)
    found: list[JobView] = []
    for _ in range(ROUNDS):
        page, cursor = await queue.list_live(chosen, cursor, limit - len(found))
        found += page
        if cursor is None or len(found) >= limit:
            break
    return found, cursor


async def _finished(
    queue: Queue, store: Store, wanted: Wanted, after: tuple[int, str] | None, limit: int
) -> tuple[list[JobView], tuple[int, str] | None]:
    chosen = JobFilter(wanted.states, wanted.type, wanted.queue, wanted.since_ms, wanted.until_ms)
    found: list[JobView] = []
    for _ in range(ROUNDS):
        size = limit - len(found)
        rows = await store.list(chosen, after, size)
        found += await _still_finished(queue, rows)
        if len(rows) < size:
            return found, None
        after = (rows[-1].submitted, rows[-1].id)
        if len(found) >= limit:
            break
    return found, after


async def _still_finished(queue: Queue, rows: Sequence[TerminalJob]) -> list[JobView]:
    """The rows without those whose job was retried by hand and is live again: it is among the live ones."""
    replayable = [row.id for row in rows if row.state is not State.SUCCEEDED]
    views = await queue.get_many(replayable) if replayable else []
    live = {view.id for view in views if view is not None and view.state not in TERMINAL}
    return [terminal_view(row) for row in rows if row.id not in live]
