"""Time zones: names as IANA has them, and the spans of real time within which a zone's offset from UTC is constant.

Local time is a staircase: within a span it runs in step with real time, so that cron fields can be matched in plain
arithmetic; only the borders between spans need the zone. Times are whole seconds since the epoch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from dtq.errors import InvalidSchedule

__all__ = ["UTC_ZONE", "Span", "load_zone", "spans", "spans_backwards"]

UTC_ZONE = "UTC"
"""The zone of a schedule that names none."""

DAY = 86_400
CYCLE_DAYS = 146_097
"""Days of 400 years, after which the Gregorian calendar repeats, weekdays included."""
FIRST_YEAR, LAST_YEAR = 2, 9997
"""Years that can be converted to any zone and back within datetime's range."""


class Span(NamedTuple):
    """``offset`` is local time minus UTC, in seconds, for start <= instant < end."""

    start: int
    end: int
    offset: int


@cache
def _known() -> frozenset[str]:
    # "localtime" is whatever the machine is set to.
    return frozenset(available_timezones() - {"localtime"})


def load_zone(name: str) -> str:
    """``name``, if it names a zone.

    Raises:
        InvalidSchedule: it does not; the error names the field timeZone and what to write.
    """
    if not name:
        problem = "must not be empty; leave it out for UTC, or name an IANA zone such as Europe/Berlin"
    elif name.lower() == "local":
        problem = "must be an explicit IANA zone such as Europe/Berlin; 'Local' would depend on the machine"
    elif name not in _known():
        problem = f"unknown time zone {name[:80]!r}{_suggestion(name[:80])}; IANA names are written as in Europe/Berlin or UTC"
    else:
        return name
    raise InvalidSchedule(f"timeZone: {problem}", [("timeZone", problem)])


def _suggestion(name: str) -> str:
    by_lower = {known.lower(): known for known in _known()}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {by_lower[close[0]]!r}?" if close else ""


def spans(zone: str, start: int, end: int) -> Iterator[Span]:
    """The spans that cover start <= instant < end, ascending, cut to it; neighbours may have the same offset."""
    for year in range(_year(start), _year(end - 1) + 1):
        yield from _cut(_year_spans(zone, year), start, end)


def spans_backwards(zone: str, start: int, end: int) -> Iterator[Span]:
    """The same spans, the last one first."""
    for year in range(_year(end - 1), _year(start) - 1, -1):
        yield from _cut(_year_spans(zone, year)[::-1], start, end)


def _cut(parts: tuple[Span, ...], start: int, end: int) -> Iterator[Span]:
    for part in parts:
        low, high = max(part.start, start), min(part.end, end)
        if low < high:
            yield Span(low, high, part.offset)


_FIRST = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
_LAST = int(datetime(LAST_YEAR, 12, 31, tzinfo=UTC).timestamp())


def _year(instant: int) -> int:
    return datetime.fromtimestamp(min(max(instant, _FIRST), _LAST), UTC).year


def _offset(zone: ZoneInfo, instant: int) -> int:
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    return round(offset.total_seconds()) if offset is not None else 0


@lru_cache(maxsize=8192)
def _year_spans(name: str, year: int) -> tuple[Span, ...]:
    """The spans of one UTC year.

    zoneinfo does not tell its transitions, so they are looked for: no zone in the tz database ever changed its offset
    twice within three days, nor, once only its rule for the future applies (after 2100), within a month. A test
    verifies this against all zones.
    """
    if year > 2500:
        # Rules for the future repeat with the calendar, whose cycle is 400 years.
        shift = CYCLE_DAYS * DAY
        return tuple(Span(start + shift, end + shift, offset) for start, end, offset in _year_spans(name, year - 400))
    zone = ZoneInfo(name)
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp())
    stride = DAY if year <= 2100 else 14 * DAY
    found: list[Span] = []
    begin, offset, seen = start, _offset(zone, start), start
    while seen < end:
        probe = min(seen + stride, end)
        after = _offset(zone, probe)
        if after != offset:
            change = _first_with(zone, seen, probe, after)
            found.append(Span(begin, change, offset))
            begin, offset = change, after
        seen = probe
    if begin < end:
        found.append(Span(begin, end, offset))
    return tuple(found)


def _first_with(zone: ZoneInfo, low: int, high: int, offset: int) -> int:
    """The first instant in (low, high] with ``offset``, when there is one change in between."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == offset:
            high = middle
        else:
            low = middle
    return high
