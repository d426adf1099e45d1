"""Cron lines and their ticks. Pure; instants are whole seconds since the epoch unless they are datetimes.

:func:`parse_line` accepts what Kubernetes' CronJob accepts: five fields, the macros, and ``@every DURATION`` (CronJob's
validation takes it and its controller provides for it). Where robfig/cron gives up (five years ahead) or errs (Lord
Howe's half-hour shift, Apia's lost day) the definition of a tick in :mod:`dtq.schedule` holds.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import islice

from dtq.errors import InvalidSchedule
from dtq.schedule.fields import expand, split_line
from dtq.schedule.zones import DAY, LAST_YEAR, UTC_ZONE, load_zone, spans, spans_backwards

__all__ = ["MACROS", "MAX_PREVIEW", "CronLine", "Every", "Line", "next_ticks", "parse_line", "preview"]

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

MAX_PREVIEW = 1000
"""Most ticks that one preview gives."""

END = int(datetime(LAST_YEAR, 1, 1, tzinfo=UTC).timestamp())
"""No tick is looked for beyond this."""

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_LONGEST = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}


@dataclass(frozen=True, slots=True)
class CronLine:
    """Five fields. ``either``: a day matches by day of month or day of week; else it must match by both."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @property
    def never(self) -> bool:
        """Whether no date at all matches, such as 30 February."""
        if not (self.minutes and self.hours and self.months):
            return True
        by_month = any(day <= _LONGEST[month] for month in self.months for day in self.days)
        return not (by_month or self.weekdays) if self.either else not (by_month and self.weekdays)

    def upcoming(self, zone: str, base: int, now: int) -> int | None:
        """The first tick after both ``base`` and ``now``."""
        return next(self.ticks(zone, max(base, now)), None)

    def latest(self, zone: str, base: int, now: int) -> int | None:
        """The last tick in (base, now]."""
        if self.never:
            return None
        for start, end, offset in spans_backwards(zone, base + 1, now + 1):
            for local in self._backwards(start + offset, end + offset):
                return local - offset
        return None

    def count(self, zone: str, base: int, now: int, limit: int) -> int:
        """How many ticks lie in (base, now], but at most ``limit``."""
        return sum(1 for _ in islice(self.ticks(zone, base, now + 1), limit))

    def ticks(self, zone: str, after: int, end: int = END) -> Iterator[int]:
        """Ticks strictly after ``after`` and before ``end``, ascending."""
        if self.never:
            return
        for start, stop, offset in spans(zone, after + 1, end):
            for local in self._forwards(start + offset, stop + offset):
                yield local - offset

    def _forwards(self, low: int, high: int) -> Iterator[int]:
        """Matching local times in low <= local < high, at the start of their minute."""
        day, last = low // DAY, (high - 1) // DAY
        while day <= last:
            today = date.fromordinal(day + _EPOCH_ORDINAL)
            if today.month not in self.months:
                day += _days_left(today)
                continue
            if self._matches(today):
                base = day * DAY
                for hour in self.hours[bisect_left(self.hours, (low - base) // 3600) :]:
                    for minute in self.minutes:
                        local = base + hour * 3600 + minute * 60
                        if local >= high:
                            return
                        if local >= low:
                            yield local
            day += 1

    def _backwards(self, low: int, high: int) -> Iterator[int]:
        """The same times, the last one first."""
        day, first = (high - 1) // DAY, low // DAY
        while day >= first:
            today = date.fromordinal(day + _EPOCH_ORDINAL)
            if today.month not in self.months:
                day -= today.day
                continue
            if self._matches(today):
                base = day * DAY
                for hour in reversed(self.hours[: bisect_right(self.hours, (high - 1 - base) // 3600)]):
                    for minute in reversed(self.minutes):
                        local = base + hour * 3600 + minute * 60
                        if local < low:
                            return
                        if local < high:
                            yield local
            day -= 1

    def _matches(self, day: date) -> bool:
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either else by_month and by_week


def _days_left(day: date) -> int:
    """Days from ``day`` to the first of the next month."""
    following = day.replace(year=day.year + 1, month=1, day=1) if day.month == 12 else day.replace(month=day.month + 1, day=1)
    return following.toordinal() - day.toordinal()


@dataclass(frozen=True, slots=True)
class Every:
    """``@every``: ticks at base + n x ``seconds``, where base is the last start (at first, the creation).

    Zones do not matter to it. As with CronJob a schedule runs once a minute at most, since a run is named by its minute.
    """

    seconds: int

    def upcoming(self, zone: str, base: int, now: int) -> int | None:
        """The first tick after both ``base`` and ``now``."""
        return base + max(1, (now - base) // self.seconds + 1) * self.seconds

    def latest(self, zone: str, base: int, now: int) -> int | None:
        """The last tick in (base, now]."""
        passed = (now - base) // self.seconds
        return base + passed * self.seconds if passed > 0 else None

    def count(self, zone: str, base: int, now: int, limit: int) -> int:
        """How many ticks lie in (base, now], but at most ``limit``."""
        return min(limit, max(0, (now - base) // self.seconds))

    def ticks(self, zone: str, after: int, end: int = END) -> Iterator[int]:
        """Ticks strictly after ``after``, which is their base, and before ``end``."""
        yield from range(after + self.seconds, end, self.seconds)


Line = CronLine | Every


@lru_cache(maxsize=8192)
def parse_line(text: str) -> Line:
    """Read a cron line.

    Raises:
        InvalidSchedule: CronJob would refuse it; the error names the field schedule and what is allowed.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise InvalidSchedule(f"schedule: {error}", [("schedule", str(error))]) from None


def _parse(text: str) -> Line:
    if "TZ" in text:
        raise ValueError("a time zone inside the line is not supported; put it into timeZone")
    if not text:
        raise ValueError("must not be empty; expected 5 fields or a macro such as @daily")
    if text.startswith("@every "):
        return Every(_duration(text.removeprefix("@every ")))
    if text.startswith("@"):
        if text not in MACROS:
            raise ValueError(f"unknown macro {text[:40]!r}; allowed are {', '.join(MACROS)} and '@every 1h30m'")
        text = MACROS[text]
    minute, hour, day, month, weekday = expand(tuple(split_line(text)))
    return CronLine(
        minute.values,
        hour.values,
        frozenset(day.values),
        frozenset(month.values),
        frozenset(weekday.values),
        either=not (day.star or weekday.star),
    )


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_SECOND = 10**9


def _duration(text: str) -> int:
    """Whole seconds, at least 1, of a duration as Go's time.ParseDuration reads it."""
    body = text[1:] if text[:1] in ("+", "-") else text
    parts = list(_PART.finditer(body))
    if body == "0":
        return 1
    if not body or len(body) > 100 or "".join(part.group() for part in parts) != body:
        raise ValueError(f"{text[:40]!r} is not a duration; write it like 90s, 15m or 1h30m")
    nanos = sum(int(Decimal(part[1]) * _UNITS[part[2]]) for part in parts)
    if nanos >= 2**63:
        raise ValueError(f"{text[:40]!r} is too long")
    return 1 if text.startswith("-") else max(1, nanos // _SECOND)


def next_ticks(line: Line, zone: str, after: datetime, count: int) -> list[datetime]:
    """The first ``count`` ticks strictly after the aware datetime ``after``, in UTC; fewer when there are no more."""
    base = min(max(int(after.timestamp() // 1), -(10**11)), END)
    ticks = islice(line.ticks(zone, base), count)
    return [datetime.fromtimestamp(tick, UTC) for tick in ticks]


def preview(schedule: str, time_zone: str | None, from_: datetime, count: int) -> list[datetime]:
    """The times at which ``schedule`` fires, strictly after ``from_``; empty when it never does.

    ``time_zone`` None means UTC; ``count`` is 1 to 1,000.

    Raises:
        InvalidSchedule: a parameter is wrong; the error names it (schedule, timeZone, from or count) and the fix.
    """
    line = parse_line(schedule)
    zone = load_zone(UTC_ZONE if time_zone is None else time_zone)
    if not 1 <= count <= MAX_PREVIEW:
        raise InvalidSchedule("count is out of range", [("count", f"must be 1 to {MAX_PREVIEW}")])
    if from_.tzinfo is None:
        raise InvalidSchedule("from has no time zone", [("from", "must say its offset, as in 2026-01-31T12:00:00Z")])
    return next_ticks(line, zone, from_, count)
