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

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of jobs on one page: payloads and results may have megabytes each."""
_BEFORE_FINISHED = (2**42, "~")
"""A place before the first finished job."""
FIRST_STEP = 50
"""Jobs fetched before it is known how large they are."""


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
    """A page of at most ``limit`` jobs and about ``MAX_BYTES``, and the next page's cursor or None.

    Raises:
        InvalidCursor, QueueUnavailable, StoreUnavailable: see there.
    """
    place = decode_cursor(cursor) if cursor else _Cursor(VERSION)
    page = _Page(limit)
    if place.submitted is None and wanted.live:
        following = await _live(queue, wanted, place.live, page)
        if following is not None:
            return page.jobs, encode_cursor(_Cursor(VERSION, live=following))
    if not wanted.finished:
        return page.jobs, None
    if page.full:
        last: tuple[int, str] | None = _BEFORE_FINISHED  # live jobs filled the page exactly
    else:
        after = None if place.submitted is None or place.id is None else (place.submitted, place.id)
        last = await _finished(queue, store, wanted, after, page)
    return page.jobs, None if last is None else encode_cursor(_Cursor(VERSION, submitted=last[0], id=last[1]))


class _Page:
    """A page as it fills, bounded in jobs and in bytes; it always takes one job."""

    def __init__(self, limit: int) -> None:
        self.jobs: list[JobView] = []
        self._limit = limit
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no more jobs go onto it."""
        return len(self.jobs) >= self._limit or self._bytes >= MAX_BYTES

    @property
    def step(self) -> int:
        """How many jobs to fetch next: few until their size is known, then as many as should fit."""
        left = self._limit - len(self.jobs)
        average = self._bytes // len(self.jobs) if self.jobs else MAX_BYTES // FIRST_STEP
        return max(1, min(left, (MAX_BYTES - self._bytes) // max(average, 1)))

    def fitting(self, jobs: Sequence[JobView]) -> int:
        """How many of these, from the first, fit."""
        total = self._bytes
        for count, job in enumerate(jobs):
            total += _size(job)
            if total > MAX_BYTES and (count or self.jobs):
                return count
        return len(jobs)

    def add(self, jobs: Sequence[JobView]) -> None:
        """Put jobs onto it."""
        self.jobs += jobs
        self._bytes += sum(map(_size, jobs))


def _size(job: JobView) -> int:
    """About the bytes that a job takes in the answer."""
    logs = sum(len(line) for attempt in job.attempts for line in attempt.logs)
    errors = sum(len(error.message) + len(error.traceback) for error in (job.error, *(a.error for a in job.attempts)) if error)
    return 500 + len(job.payload) + len(job.result or b"") + logs + errors


async def _live(queue: Queue, wanted: Wanted, cursor: str | None, page: _Page) -> str | None:
    chosen = LiveFilter(wanted.states, wanted.type, wanted.queue, wanted.since_ms, wanted.until_ms)
    for _ in range(ROUNDS):
        found, following = await queue.list_live(chosen, cursor, page.step)
        fitting = page.fitting(found)
        if fitting < len(found):
            if not fitting:
                break
            # Only the queue knows the place after each job, and it tells that of the last one.
            found, following = await queue.list_live(chosen, cursor, fitting)
        page.add(found)
        cursor = following
        if cursor is None or page.full:
            break
    return cursor


async def _finished(queue: Queue, store: Store, wanted: Wanted, after: tuple[int, str] | None, page: _Page) -> tuple[int, str] | None:
    chosen = JobFilter(wanted.states, wanted.type, wanted.queue, wanted.since_ms, wanted.until_ms)
    for _ in range(ROUNDS):
        step = page.step
        rows = await store.list(chosen, after, step)
        found = await _still_finished(queue, rows)
        fitting = page.fitting(found)
        page.add(found[:fitting])
        if fitting < len(found):
            return (page.jobs[-1].submitted, page.jobs[-1].id) if fitting else after or _BEFORE_FINISHED
        if len(rows) < step:
            return None
        after = (rows[-1].submitted, rows[-1].id)
        if page.full:
            break
    return after


async def _still_finished(queue: Queue, rows: Sequence[TerminalJob]) -> list[JobView]:
    """The rows without those whose job was retried by hand and is live again: it is among the live ones."""
    replayable = [row.id for row in rows if row.state is not State.SUCCEEDED]
    views = await queue.get_many(replayable) if replayable else []
    live = {view.id for view in views if view is not None and view.state not in TERMINAL}
    return [terminal_view(row) for row in rows if row.id not in live]
