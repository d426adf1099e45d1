"""Zone names, and the spans of constant offset."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest

from dtq.errors import InvalidSchedule
from dtq.schedule.zones import DAY, load_zone, spans, spans_backwards


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def offset(zone: ZoneInfo, at: int) -> float:
    found = datetime.fromtimestamp(at, zone).utcoffset()
    assert found is not None
    return found.total_seconds()


@pytest.mark.parametrize("name", ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "US/Eastern"])
def test_iana_names_are_taken(name: str) -> None:
    assert load_zone(name) == name


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("", "must not be empty"),
        ("Local", "explicit"),
        ("local", "explicit"),
        ("localtime", "unknown"),
        ("America", "unknown"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("+02:00", "unknown"),
        ("../../etc/passwd", "unknown"),
        ("/etc/localtime", "unknown"),
        ("Europe/\0", "unknown"),
    ],
)
def test_other_names_are_refused(name: str, part: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        load_zone(name)
    [(path, message)] = caught.value.errors
    assert path == "timeZone"
    assert part in message


def test_spans_end_where_the_offset_changes() -> None:
    found = list(spans("Europe/Berlin", instant("2026-03-01"), instant("2026-04-01")))
    assert found == [
        (instant("2026-03-01"), instant("2026-03-29 01:00"), 3600),
        (instant("2026-03-29 01:00"), instant("2026-04-01"), 7200),
    ]


def test_backwards_gives_the_same_spans() -> None:
    start, end = instant("1890-05-01"), instant("2150-03-01")
    assert list(spans_backwards("Europe/Dublin", start, end)) == list(spans("Europe/Dublin", start, end))[::-1]


@pytest.mark.parametrize("year", [1900, 1944, 1986, 2011, 2026, 2054, 2087, 2101, 2500, 2501, 3333])
def test_no_zone_has_a_change_that_spans_miss(year: int) -> None:
    """Probing every quarter of a day finds no change of offset within a span, in a sample of zones that turns with the year."""
    start, end = instant(f"{year}-01-01"), instant(f"{year + 1}-01-01")
    for name in sorted(available_timezones())[year % 7 :: 7]:
        zone = ZoneInfo(name)
        for span in spans(name, start, end):
            assert all(offset(zone, at) == span.offset for at in range(span.start, span.end, DAY // 4)), (name, span)
