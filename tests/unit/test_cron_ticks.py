"""When lines fire: a tick is every real instant whose wall-clock minute in the zone matches the fields."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dtq.errors import InvalidSchedule
from dtq.schedule.cron import CronLine, Every, next_ticks, parse_line, preview

# zone, local day near a change of its offset
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Pacific/Apia", "2011-12-30"),
    ("Asia/Kolkata", "2026-01-01"),
    ("Asia/Kathmandu", "1986-01-01"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("Africa/Cairo", "2026-10-29"),
    ("America/St_Johns", "2006-10-29"),
    ("Pacific/Chatham", "2026-04-05"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Asia/Gaza", "2040-10-20"),
    ("America/Havana", "2026-11-01"),
    ("Antarctica/Troll", "2026-10-25"),
    ("Pacific/Kwajalein", "1993-08-21"),
]


def brute_force(line: CronLine, zone: str, start: int, end: int) -> list[int]:
    """Every real minute in start < instant <= end, asked one by one."""
    info = ZoneInfo(zone)
    found = []
    for instant in range(start - start % 60 + 60, end + 1, 60):
        local = datetime.fromtimestamp(instant, info)
        by_month, by_week = local.day in line.days, local.isoweekday() % 7 in line.weekdays
        day = by_month or by_week if line.either else by_month and by_week
        if day and local.minute in line.minutes and local.hour in line.hours and local.month in line.months:
            found.append(instant)
    return found


def a_field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    ranges = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(st.one_of(st.just("*"), value.map(str), ranges), st.integers(1, 9)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.lists(st.one_of(st.just("*"), value.map(str), ranges, steps), min_size=1, max_size=2).map(",".join)


LINES = st.tuples(a_field(0, 59), a_field(0, 23), a_field(1, 31), st.just("*"), a_field(0, 6)).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(LINES, st.sampled_from(CHANGES), st.integers(-36 * 60, 36 * 60), st.integers(0, 59))
@example("* * * * *", ("Pacific/Apia", "2011-12-30"), -600, 0)
@example("15,45 1-3 * * *", ("Australia/Lord_Howe", "2026-04-05"), -600, 0)
def test_ticks_are_those_of_a_walk_through_every_minute(text: str, change: tuple[str, str], minutes: int, seconds: int) -> None:
    zone, day = change
    line = parse_line(text)
    assert isinstance(line, CronLine)
    start = int(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).timestamp()) + minutes * 60 + seconds
    end = start + 3 * 86_400
    expected = brute_force(line, zone, start, end)
    assert list(line.ticks(zone, start, end + 1)) == expected
    assert line.latest(zone, start, end) == (expected[-1] if expected else None)
    assert line.count(zone, start, end, 101) == min(101, len(expected))
    if expected:
        assert line.upcoming(zone, start, start) == expected[0]


def local_ticks(text: str, zone: str, after: str, count: int) -> list[str]:
    found = next_ticks(parse_line(text), zone, datetime.fromisoformat(after), count)
    return [f"{tick.astimezone(ZoneInfo(zone)):%m-%d %H:%M%z}" for tick in found]


def test_a_time_in_the_spring_gap_is_skipped() -> None:
    assert local_ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z", 2) == ["03-28 02:30+0100", "03-30 02:30+0200"]


def test_a_time_in_the_autumn_repeat_fires_twice() -> None:
    assert local_ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T22:00Z", 3) == [
        "10-25 02:30+0200",
        "10-25 02:30+0100",
        "10-26 02:30+0100",
    ]


def test_lord_howe_shifts_by_half_an_hour() -> None:
    assert local_ticks("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T13:00Z", 2) == ["04-05 01:45+1100", "04-05 01:45+1030"]
    assert local_ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", 1) == ["10-05 02:15+1100"]


def test_apia_has_no_30_december_2011() -> None:
    assert local_ticks("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00Z", 2) == ["12-29 12:00-1000", "12-31 12:00+1400"]


def test_kolkata_is_half_an_hour_off() -> None:
    assert next_ticks(parse_line("0 9 * * *"), "Asia/Kolkata", datetime(2026, 1, 1, tzinfo=UTC), 1) == [
        datetime(2026, 1, 1, 3, 30, tzinfo=UTC)
    ]


def test_local_mean_time_has_odd_seconds() -> None:
    found = next_ticks(parse_line("0 12 * * *"), "Europe/Amsterdam", datetime(1880, 1, 1, tzinfo=UTC), 1)
    assert found[0].astimezone(ZoneInfo("Europe/Amsterdam")).strftime("%H:%M:%S") == "12:00:00"


def test_a_tick_is_strictly_after() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    line = parse_line("0 0 * * *")
    assert next_ticks(line, "UTC", at, 1) == [at + timedelta(days=1)]
    assert next_ticks(line, "UTC", at - timedelta(microseconds=1), 1) == [at]


def test_29_february_is_found_across_2100() -> None:
    found = next_ticks(parse_line("0 0 29 2 *"), "Europe/Berlin", datetime(2096, 3, 1, tzinfo=UTC), 1)
    assert found[0].astimezone(ZoneInfo("Europe/Berlin")).isoformat() == "2104-02-29T00:00:00+01:00"


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30-31 2 ?", ", * * * *", "* * * * ,", "* * , * *"])
def test_a_line_that_never_fires_has_no_ticks(text: str) -> None:
    line = parse_line(text)
    assert next_ticks(line, "Europe/Berlin", datetime(2026, 1, 1, tzinfo=UTC), 5) == []
    assert line.upcoming("UTC", 0, 0) is None
    assert line.latest("UTC", 0, 2_000_000_000) is None
    assert line.count("UTC", 0, 2_000_000_000, 101) == 0


def test_30_february_or_a_friday_fires_on_fridays() -> None:
    assert local_ticks("0 0 30 2 5", "UTC", "2026-01-01T00:00Z", 1) == ["02-06 00:00+0000"]


def test_every_counts_from_its_base() -> None:
    line = Every(90)
    assert list(islice(line.ticks("UTC", 1000), 2)) == [1090, 1180]
    assert (line.upcoming("UTC", 1000, 1000), line.upcoming("UTC", 1000, 1180), line.upcoming("UTC", 1000, 500)) == (1090, 1270, 1090)
    assert (line.latest("UTC", 1000, 1089), line.latest("UTC", 1000, 1200)) == (None, 1180)
    assert (line.count("UTC", 1000, 1200, 101), line.count("UTC", 1000, 10**9, 101)) == (2, 101)


def test_preview() -> None:
    after = datetime(2026, 1, 1, tzinfo=UTC)
    assert preview("@daily", None, after, 2) == [datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)]
    assert preview("0 0 30 2 *", "UTC", after, 10) == []
    assert len(preview("* * * * *", "Asia/Kolkata", after, 1000)) == 1000
    assert preview("@yearly", "UTC", datetime(9999, 1, 1, tzinfo=UTC), 3) == []


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("* * *", "UTC", datetime(2026, 1, 1, tzinfo=UTC), 1), "schedule"),
        (("@daily", "Mars/Base", datetime(2026, 1, 1, tzinfo=UTC), 1), "timeZone"),
        (("@daily", "", datetime(2026, 1, 1, tzinfo=UTC), 1), "timeZone"),
        (("@daily", "UTC", datetime(2026, 1, 1), 1), "from"),
        (("@daily", "UTC", datetime(2026, 1, 1, tzinfo=UTC), 0), "count"),
        (("@daily", "UTC", datetime(2026, 1, 1, tzinfo=UTC), 1001), "count"),
    ],
)
def test_preview_names_the_wrong_parameter(arguments: tuple[str, str, datetime, int], field: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        preview(*arguments)
    assert [path for path, _ in caught.value.errors] == [field]
