"""When a tick starts a job: the rules of batch/v1 CronJob."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from dtq.errors import InvalidSchedule
from dtq.schedule.decide import Active, Decision, Skip, Start, Wait, decide, first_tick
from dtq.schedule.entry import Entry
from dtq.schedule.outcome import advance, unreadable
from dtq.schedule.spec import parse_spec


def at(text: str) -> int:
    """12:34 or 12:34:56 of 1 January 2026, or a whole date, in ms."""
    moment = datetime.fromisoformat(f"2026-01-01T{text}+00:00" if len(text) < 10 else f"{text}+00:00")
    return int(moment.timestamp() * 1000)


def entry(created: str = "09:30", last: str | None = None, **spec: Any) -> Entry:
    full = {"schedule": "0 * * * *", "jobTemplate": {"type": "email"}, **spec}
    last_ms = None if last is None else at(last)
    return Entry(name="n", uid="u", generation=1, spec=parse_spec(full), created=at(created), last=last_ms)


@pytest.mark.parametrize(
    ("given", "now", "expected"),
    [
        (entry(), "09:59", Wait(at("10:00"))),
        (entry(), "10:00", Start(at("10:00"), at("11:00"))),
        (entry(), "10:30", Start(at("10:00"), at("11:00"))),
        (entry(created="10:00"), "10:00", Wait(at("11:00"))),
        (entry(last="10:00"), "10:00:05", Wait(at("11:00"))),
        (entry(last="10:00"), "14:30", Start(at("14:00"), at("15:00"))),
        (entry(last="12:00"), "10:00", Wait(at("13:00"))),
        (entry(suspend=True), "10:30", Wait(None)),
        (entry(schedule="0 0 30 2 *"), "10:30", Wait(None)),
        (entry(timeZone="Asia/Kolkata", schedule="0 16 * * *"), "10:30", Start(at("10:30"), at("2026-01-02T10:30:00"))),
    ],
)
def test_only_the_most_recent_unmet_tick_starts(given: Entry, now: str, expected: Decision) -> None:
    assert decide(given, at(now)) == expected


@pytest.mark.parametrize(
    ("deadline", "now", "expected"),
    [
        (600, "10:09:59", Start(at("10:00"), at("11:00"))),
        (600, "10:10:00", Skip(at("10:00"), at("11:00"))),
        (600, "10:30:00", Skip(at("10:00"), at("11:00"))),
        (86_400, "13:30:00", Start(at("13:00"), at("14:00"))),
        (0, "10:00:00", Skip(at("10:00"), at("11:00"))),
    ],
)
def test_a_tick_past_its_deadline_is_missed(deadline: int, now: str, expected: Decision) -> None:
    assert decide(entry(startingDeadlineSeconds=deadline), at(now)) == expected


def test_forbid_waits_for_the_active_run() -> None:
    forbid = entry(concurrencyPolicy="Forbid")
    assert decide(forbid, at("10:00"), live=True) == Active(at("10:00"), at("11:00"))
    assert decide(forbid, at("10:20"), live=False) == Start(at("10:00"), at("11:00"))


def test_a_tick_that_waited_starts_only_within_its_deadline() -> None:
    forbid = entry(concurrencyPolicy="Forbid", startingDeadlineSeconds=600)
    assert decide(forbid, at("10:20")) == Skip(at("10:00"), at("11:00"))


@pytest.mark.parametrize("policy", ["Allow", "Replace"])
def test_other_policies_start_beside_an_active_run(policy: str) -> None:
    assert decide(entry(concurrencyPolicy=policy), at("10:00"), live=True) == Start(at("10:00"), at("11:00"))


@pytest.mark.parametrize(("last", "too_many"), [("10:20", False), ("10:19", True)])
def test_more_than_100_missed_ticks_are_told_and_it_starts(last: str, too_many: bool) -> None:
    minutely = entry(last=last, schedule="* * * * *")
    assert decide(minutely, at("12:00")) == Start(at("12:00"), at("12:01"), too_many)


def test_only_ticks_within_the_deadline_are_counted() -> None:
    minutely = entry(last="00:00", schedule="* * * * *", startingDeadlineSeconds=3600)
    assert decide(minutely, at("12:00")) == Start(at("12:00"), at("12:01"), False)


def test_every_counts_from_the_last_start_or_the_creation() -> None:
    assert decide(entry(created="09:30:10", schedule="@every 90s"), at("09:31:39")) == Wait(at("09:31:40"))
    assert decide(entry(last="09:00:00", schedule="@every 10m"), at("09:25:00")) == Start(at("09:20"), at("09:30"))


def test_every_with_a_deadline_shorter_than_its_interval_starts() -> None:
    short = entry(last="09:00:00", schedule="@every 10m", startingDeadlineSeconds=30)
    assert decide(short, at("09:10:01")) == Start(at("09:10"), at("09:20"))


def test_a_time_in_the_spring_gap_waits_for_the_next_day() -> None:
    berlin = entry(created="2026-03-28T12:00:00", schedule="30 2 * * *", timeZone="Europe/Berlin")
    assert decide(berlin, at("2026-03-29T12:00:00")) == Wait(at("2026-03-30T00:30:00"))


def test_a_zone_that_is_no_longer_known_is_an_error() -> None:
    stored = entry()
    spec = stored.spec.model_copy(update={"timeZone": "Mars/Base"})
    with pytest.raises(InvalidSchedule, match="unknown time zone"):
        decide(Entry(name="n", uid="u", generation=1, spec=spec, created=0), at("10:00"))


def test_first_tick() -> None:
    assert first_tick("@daily", "UTC", at("10:00")) == at("2026-01-02T00:00:00")
    assert first_tick("0 0 31 2 *", "UTC", at("10:00")) is None


def test_a_start_moves_the_last_schedule_time() -> None:
    change = advance(entry(last="09:00"), Start(at("10:00"), at("11:00")), at("10:00"), "job")
    assert (change.expected, change.last, change.next, change.run, change.event) == (at("09:00"), at("10:00"), at("11:00"), "job", None)


def test_a_start_after_too_many_missed_ticks_is_told() -> None:
    change = advance(entry(), Start(at("10:00"), None, too_many=True), at("10:00"), "job")
    assert change.event is not None
    assert (change.event.reason, change.event.type) == ("TooManyMissedTimes", "Warning")


@pytest.mark.parametrize(
    ("decision", "reason"),
    [(Skip(at("10:00"), at("11:00")), "MissSchedule"), (Active(at("10:00"), at("11:00")), "JobAlreadyActive")],
)
def test_a_tick_that_does_not_start_is_told_once_and_last_stays(decision: Decision, reason: str) -> None:
    before = entry(last="09:00", startingDeadlineSeconds=5)
    change = advance(before, decision, at("10:30"))
    assert (change.last, change.event and change.event.reason) == (at("09:00"), reason)
    told = Entry(name="n", uid="u", generation=1, spec=before.spec, created=0, missed=change.missed, blocked=change.blocked)
    assert advance(told, decision, at("10:31")).event is None


def test_an_unreadable_entry_is_told_and_looked_at_again() -> None:
    change = unreadable(entry(last="09:00"), "why", at("10:00"))
    assert (change.next, change.look, change.last) == (None, at("11:00"), at("09:00"))
    assert change.event is not None
    assert change.event.reason == "InvalidSchedule"
