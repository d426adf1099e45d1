"""Lists jobs that are not finished, straight from the queue's own structures: no index is kept for it."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from dtq.errors import InvalidCursor, QueueDamaged
from dtq.ids import is_id, make_id
from dtq.job import JobView, State
from dtq.queue import keys
from dtq.queue.connection import translated

if TYPE_CHECKING:
    from dtq.queue.engine import Queue

__all__ = ["LiveFilter", "list_live"]

SCAN_LIMIT = 5000
"""Jobs looked at for one page at most, so that a filter for something rare cannot hold the server up."""


class LiveFilter(msgspec.Struct, frozen=True):
    """Which jobs to list; None is any. Times are ms since the epoch, ``since`` inclusive and ``until`` exclusive."""

    states: frozenset[State] | None = None
    type: str | None = None
    queue: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, job: JobView) -> bool:
        """Whether ``job`` is wanted."""
        return (
            (self.states is None or job.state in self.states)
            and (self.type is None or job.type == self.type)
            and (self.since_ms is None or job.submitted >= self.since_ms)
            and (self.until_ms is None or job.submitted < self.until_ms)
        )

    @property
    def sections(self) -> list[str]:
        """The structures of a queue that can hold wanted jobs: the delayed set ("d") and the streams."""
        streams = [*reversed(keys.LANES)]
        if self.states is None:
            return ["d", *streams]
        found = ["d"] if self.states & {State.SCHEDULED, State.RETRYING} else []
        return found + (streams if self.states & {State.QUEUED, State.RUNNING} else [])


# 19 digits fit into the 64 bits that Redis takes; before 0-0 there is nothing, and Redis refuses to look.
_POSITION = re.compile(r"|(?!0+-0+$)\d{1,19}-\d{1,19}", re.ASCII)
_DELAYED_POSITION = re.compile(r"|-?\d{1,20}:.+", re.ASCII | re.DOTALL)


class _Place(NamedTuple):
    """Where the next page starts: in ``section`` of ``queue``, after ``position`` ('' is the start)."""

    queue: str
    section: str
    position: str


def _encode(place: _Place) -> str:
    return base64.urlsafe_b64encode("|".join(place).encode()).decode().rstrip("=")


def _decode(cursor: str) -> _Place:
    try:
        place = _Place(*base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("|", 2))
        legal = place.section in ("d", *keys.LANES) and (_DELAYED_POSITION if place.section == "d" else _POSITION).fullmatch(place.position)
    except (ValueError, TypeError):
        legal = False
    if not legal:
        raise InvalidCursor("the cursor is not one that a list gave", [("cursor", "use next_cursor of the previous page")])
    return place


async def list_live(queue: Queue, names: list[str], wanted: LiveFilter, cursor: str | None, limit: int) -> tuple[list[JobView], str | None]:
    """A page of at most ``limit`` jobs and the cursor of the next one; a page can be short and still have a next one."""
    start = _decode(cursor) if cursor else None
    found: list[JobView] = []
    scanned = 0
    for name in names:
        if start and name < start.queue:
            continue
        for section in wanted.sections:
            position = ""
            if start and name == start.queue:
                order = wanted.sections
                if start.section in order and order.index(section) < order.index(start.section):
                    continue
                position = start.position if section == start.section else ""
            while True:
                page = min(500, max(50, limit))
                try:
                    ids, position = await _page(queue, name, section, position, page)
                except QueueDamaged:
                    if wanted.queue:
                        raise
                    break  # the others' jobs are shown all the same
                scanned += len(ids)
                for where, view in await _views(queue, ids):
                    if wanted.matches(view):
                        found.append(view)
                        if len(found) == limit:
                            return found, _encode(_Place(name, section, where))
                if not position:
                    break
                if scanned >= SCAN_LIMIT:
                    return found, _encode(_Place(name, section, position))
    return found, None


async def _page(queue: Queue, name: str, section: str, position: str, count: int) -> tuple[list[tuple[str, str]], str]:
    """(position, job id) of the next jobs in a section, and the position of the last when there may be more."""
    if section == "d":
        ids = await _delayed(queue, name, position, count)
    else:
        with translated(keys.prefix(name)):
            entries = await queue.client.xrevrange(keys.lane(name, section), f"({position}" if position else "+", "-", count=count)
        ids = [(entry.decode(), _id_of(name, section, entry, fields)) for entry, fields in entries]
    return ids, ids[-1][0] if len(ids) == count else ""


async def _delayed(queue: Queue, name: str, position: str, count: int) -> list[tuple[str, str]]:
    """Delayed jobs, the last due first. A position is a due time and an id, so jobs that come or go shift nothing."""
    key = keys.delayed(name)
    with translated(key):
        start = await _rank_after(queue, key, position) if position else 0
        members = await queue.client.zrevrange(key, start, start + count - 1, withscores=True)
    return [(f"{score:.0f}:{member.decode(errors='replace')}", member.decode(errors="replace")) for member, score in members]


async def _rank_after(queue: Queue, key: str, position: str) -> int:
    """The rank of the first job after ``position``, whose own job may have gone."""
    due, _, job_id = position.partition(":")
    if await queue.client.zscore(key, job_id) == float(due):
        return int(await queue.client.zrevrank(key, job_id) or 0) + 1
    later = await queue.client.zcount(key, f"({due}", "+inf")
    same = await queue.client.zrangebyscore(key, due, due)
    return int(later) + sum(bool(member >= job_id.encode()) for member in same)


def _id_of(name: str, section: str, entry: bytes, fields: dict[bytes, bytes]) -> str:
    return fields[b"i"].decode(errors="replace") if b"i" in fields else make_id(entry.decode(), section, name)


async def _views(queue: Queue, ids: list[tuple[str, str]]) -> list[tuple[str, JobView]]:
    """The jobs, without those that finished between the two looks, and without what damage left in a job's place."""
    ids = [item for item in ids if is_id(item[1])]
    found = await queue.get_many([job_id for _, job_id in ids])
    return [(where, view) for (where, _), view in zip(ids, found, strict=True) if view is not None and view.finished is None]
