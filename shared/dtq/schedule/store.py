"""Schedules in Redis or Valkey. All keys carry the hash tag ``{dtq:schedules}``; lua/common.lua has the map.

The scheduler owns the fire state, whoever owns the spec: entries go on firing while their owner is away.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from dtq.errors import Conflict, InvalidCursor, InvalidSchedule
from dtq.ids import is_id
from dtq.queue.connection import Client, ask_each, translated
from dtq.schedule import scripts
from dtq.schedule.decide import first_tick
from dtq.schedule.entry import Advance, Entry, Event, FinishedRun, History
from dtq.schedule.spec import ScheduleSpec, check_name, parse_spec

__all__ = ["ANY", "PREFIX", "Observed", "ScheduleStore", "Taken"]

PREFIX = "{dtq:schedules}"
"""KEYS[1] of every script."""

ANY = "*"
"""In place of an owner: whoever it is."""

LAST_MS = 253_402_300_799_999
"""The end of the year 9999: what stands for a later instant was damaged from outside."""

MAX_EVENTS = 20
"""Events kept of a schedule."""

FIRST_LOOK_MS = 500
"""A run is looked at first so long after its start."""

_encode = msgspec.json.encode

_Entries = list[Entry]  # within ScheduleStore, "list" is a method
_Flags = list[bool]
_Names = list[str]
_Answers = list[Any]


class Taken(msgspec.Struct, frozen=True):
    """Entries whose time has come. ``now`` and ``next`` (of all others; None: there are none) in ms by the server's clock.

    ``broken`` names entries whose record cannot be read, and says why.
    """

    now: int
    next: int | None
    entries: list[Entry]
    broken: dict[str, str]


class Observed(msgspec.Struct, frozen=True):
    """What was seen of one run: ``state`` live, succeeded, failed, cancelled, or gone when nobody knows its end."""

    id: str
    tick: int
    state: str
    finished: int = 0


class ScheduleStore:
    """All schedules.

    Every method raises :class:`dtq.errors.QueueUnavailable` when the server does not answer, and
    :class:`dtq.errors.QueueDamaged`, of ``dtq:schedules``, when a key that it needs is not what it should be.
    """

    def __init__(self, client: Client) -> None:
        """``client``: ``Queue.client``, of a single server or a cluster."""
        self._client = client

    async def _run(self, name: str, *args: Any) -> Any:
        return await scripts.load(name).run(self._client, [PREFIX], ["" if arg is None else arg for arg in args])

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> _Answers:
        """Answers in one round trip; None where somebody wrote over the key."""
        return await ask_each(self._client, [PREFIX] * len(commands), commands)

    # ------------------------------------------------------------------ for owners of schedules

    async def put(
        self,
        name: str,
        spec: ScheduleSpec,
        *,
        owner: str | None = None,
        uid: str | None = None,
        generation: int | None = None,
        created: int | None = None,
        last: int | None = None,
    ) -> str:
        """Make or change a schedule; returns created, changed, unchanged, or stale when a newer version is there.

        The entry's uid and fire state survive a change. For the operator: ``uid`` and ``generation`` are the resource's
        and fence the write (a resource with another uid replaces an older one); ``created`` (ms) is its creation and
        ``last`` (ms) the last start in its status, both used when the entry is new. A start that is still to come was none: somebody
        wrote it there, or clocks differ; it counts as now, lest nothing fires until then, or a tick fires again.

        Raises:
            InvalidSchedule: the name is not allowed.
            Conflict: somebody else owns the schedule of this name.
        """
        check_name(name)
        now = await self.now()
        first = first_tick(spec.schedule, spec.timeZone, now)
        last = None if last is None else min(max(last, 0), now)
        fence = (uid or str(uuid.uuid4()), "1" if uid else "", generation or 0)
        what = (spec.text(), spec.schedule, spec.timeZone, "1" if spec.suspend else "")
        outcome, detail = await self._run("put", name, *fence, owner or "", *what, first, created, last)
        if outcome == b"owned":
            raise _owned(name, detail)
        return str(outcome.decode())

    async def get(self, name: str) -> Entry | None:
        """The entry, None if there is none."""
        found = await self._entries([name])
        return found[0] if found else None

    async def history(self, name: str) -> History:
        """Events and finished runs of a schedule."""
        lists = [("LRANGE", f"{PREFIX}:{kind}:{name}", 0, -1) for kind in ("events", "ok", "bad")]
        events, succeeded, failed = (found or [] for found in await self._ask(lists))
        return History(
            [event for text in events if (event := _event(text))],
            [run for text in succeeded if (run := _finished_run(text))],
            [run for text in failed if (run := _finished_run(text))],
        )

    async def serve(self, owners: Iterable[str], operator: str) -> None:
        """Note that ``operator`` is the one that manages what these owners have."""
        with translated(PREFIX):
            await self._client.hset(f"{PREFIX}:served", mapping=dict.fromkeys(owners, operator))

    async def served(self) -> dict[str, str]:
        """The operator that noted last, for each owner, that it manages what the owner has."""
        with translated(PREFIX):
            found = await self._client.hgetall(f"{PREFIX}:served")
        return {owner.decode(errors="replace"): operator.decode(errors="replace") for owner, operator in found.items()}

    async def newest_events(self, names: Sequence[str]) -> Sequence[Event | None]:
        """The newest event of each schedule, None for one without."""
        if not names:
            return []
        found = await self._ask([("LINDEX", f"{PREFIX}:events:{name}", 0) for name in names])
        return [None if event is None else _event(event) for event in found]

    async def list(self, cursor: str | None = None, limit: int = 100, *, owner: str | None = ANY) -> tuple[_Entries, str | None]:
        """A page of entries by name, and the cursor of the next page or None. ``owner``: only those of this owner.

        A page may hold fewer than ``limit`` entries while more follow.

        Raises:
            InvalidCursor: ``cursor`` is not one that this method gave.
        """
        names, more = await self._names(_after(cursor), limit)
        wanted = [entry for entry in await self._entries(names) if owner == ANY or entry.owner == owner]
        return wanted, (names[-1] if more else None)

    async def _names(self, after: bytes, limit: int) -> tuple[_Names, bool]:
        """Up to ``limit`` names in order, and whether more may follow; what somebody put there that is no name is passed over."""
        while True:
            with translated(PREFIX):
                found = await self._client.zrange(f"{PREFIX}:names", after, "+", bylex=True, offset=0, num=limit)
            names = [text for name in found if (text := _name(name))]
            if names or len(found) < limit:
                return names, len(found) == limit
            after = b"(" + found[-1]

    async def delete(self, name: str, *, owner: str | None = None, uid: str | None = None) -> Entry | None:
        """Remove a schedule and return what it was, None if there is none (or it has another uid). Its runs go on.

        The caller then lets ``Queue.forget_schedule`` forget it in the queue of its template and of its runs.

        Raises:
            Conflict: somebody else owns it. ``owner`` ANY removes it whoever does.
        """
        outcome, detail, flat = await self._run("delete", name, uid, owner or "")
        if outcome == b"owned":
            raise _owned(name, detail)
        return _intact(name, dict(zip(flat[::2], flat[1::2], strict=True))) if outcome == b"deleted" else None

    # ------------------------------------------------------------------ for the scheduler

    async def due(self, limit: int, claim_ms: int) -> Taken:
        """Up to ``limit`` entries to decide on, which no other caller gets for ``claim_ms``."""
        return _taken(await self._run("take", "due", limit, claim_ms))

    async def watched(self, limit: int, claim_ms: int) -> Taken:
        """Up to ``limit`` entries whose runs are to be looked at."""
        return _taken(await self._run("take", "watch", limit, claim_ms))

    async def advance(self, changes: Sequence[Advance]) -> _Flags:
        """Apply decisions; False for one whose entry has changed since it was decided (a run is noted even so)."""
        if not changes:
            return []
        args = [part for change in changes for part in _change(change)]
        reply = await self._run("advance", MAX_EVENTS, FIRST_LOOK_MS, *args)
        return [answer == 2 for answer in reply]

    async def observe(self, entry: Entry, runs: Iterable[Observed], look_ms: int | None) -> bool:
        """Note what became of runs, and look again after ``look_ms`` (None: when a run starts). False: it was deleted."""
        args = [part for run in runs for part in _observation(entry.spec, run)]
        return bool(await self._run("observe", entry.name, entry.uid, look_ms, *args))

    async def successes(self) -> dict[str, tuple[int, str | None]]:
        """Names of schedules that had a success, the ms of the last one, and their owners."""
        with translated(PREFIX):
            found = await self._client.hgetall(f"{PREFIX}:success")
        texts = {_name(name): value.decode(errors="replace").partition(" ") for name, value in found.items()}
        return {name: (int(ms), owner or None) for name, (ms, _, owner) in texts.items() if name and _is_time(ms)}

    async def now(self) -> int:
        """The server's clock, ms."""
        return int(await self._run("now"))

    async def _entries(self, names: Sequence[str]) -> _Entries:
        if not names:
            return []
        found = await self._ask([("HGETALL", f"{PREFIX}:e:{name}") for name in names])
        return [entry for name, fields in zip(names, found, strict=True) if fields and (entry := _intact(name, fields))]


def _owned(name: str, owner: bytes) -> Conflict:
    who = owner.decode() or "the API"
    return Conflict(f"schedule {name!r} is managed by {who}; change it there")


def _after(cursor: str | None) -> bytes:
    if cursor is None:
        return b"-"
    try:
        return f"({check_name(cursor)}".encode()
    except InvalidSchedule:
        raise InvalidCursor(f"{cursor[:80]!r} is not a cursor", [("cursor", "not a cursor that a list answer gave")]) from None


def _change(change: Advance) -> tuple[Any, ...]:
    event = change.event
    return (
        change.name,
        change.uid,
        change.generation,
        change.expected,
        change.last,
        change.missed,
        change.blocked,
        change.next,
        change.next if change.look is None else change.look,
        change.run,
        _encode(event) if event else "",
    )


_KINDS = {"live": "live", "succeeded": "ok", "failed": "bad", "cancelled": "bad"}


def _observation(spec: ScheduleSpec, run: Observed) -> tuple[Any, ...]:
    kind = _KINDS.get(run.state, "gone")
    text = _encode(FinishedRun(run.id, run.tick, run.state, run.finished)) if kind in ("ok", "bad") else b""
    limit = spec.successfulJobsHistoryLimit if kind == "ok" else spec.failedJobsHistoryLimit
    return run.id, run.tick, kind, run.finished, text, limit


def _taken(reply: list[Any]) -> Taken:
    entries: list[Entry] = []
    broken: dict[str, str] = {}
    for raw, flat in reply[2:]:
        name = raw.decode(errors="replace")
        try:
            entries.append(_entry(name, flat))
        except (InvalidSchedule, KeyError, ValueError) as error:
            broken[name] = str(error)
    return Taken(reply[0], None if reply[1] < 0 else reply[1], entries, broken)


def _intact(name: str, fields: dict[bytes, bytes]) -> Entry | None:
    """The entry, None if its record was damaged from outside; the scheduler reports those."""
    try:
        return _read(name, fields)
    except (InvalidSchedule, KeyError, ValueError):
        return None


def _entry(name: str, flat: list[bytes]) -> Entry:
    return _read(name, dict(zip(flat[::2], flat[1::2], strict=True)))


def _name(raw: bytes) -> str | None:
    """A schedule's name, None for what is none."""
    try:
        return check_name(raw.decode())
    except (UnicodeDecodeError, InvalidSchedule):
        return None


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text[:20]) <= LAST_MS


def _ms(text: bytes) -> int:
    """Milliseconds since the epoch of an instant that can be told."""
    if not _is_time(text.decode(errors="replace")):
        raise ValueError(f"{text[:30]!r} is no time in ms")
    return int(text)


def _event(text: bytes) -> Event | None:
    """An event of the list, None if it was damaged from outside."""
    try:
        event = msgspec.json.decode(text, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return event if 0 <= event.time <= LAST_MS else None


def _finished_run(text: bytes) -> FinishedRun | None:
    """A run of the history, None if it was damaged from outside."""
    try:
        run = msgspec.json.decode(text, type=FinishedRun)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return run if 0 <= run.tick <= LAST_MS and 0 <= run.finished <= LAST_MS and is_id(run.id) else None


def _run_id(raw: bytes) -> str:
    text = raw.decode()
    if not is_id(text):
        raise ValueError(f"{text[:30]!r} is no job id")
    return text


def _read(name: str, fields: dict[bytes, bytes]) -> Entry:
    def whole(field: bytes) -> int | None:
        return _ms(fields[field]) if field in fields else None

    return Entry(
        name=name,
        uid=fields[b"uid"].decode(),
        generation=int(fields[b"gen"]),
        owner=fields[b"owner"].decode() or None,
        spec=parse_spec(fields[b"spec"], stored=True),
        created=_ms(fields[b"created"]),
        last=whole(b"last"),
        missed=whole(b"missed"),
        blocked=whole(b"blocked"),
        success=whole(b"success"),
        next=whole(b"next"),
        runs={_run_id(field[2:]): _ms(tick) for field, tick in fields.items() if field.startswith(b"r:")},
    )
