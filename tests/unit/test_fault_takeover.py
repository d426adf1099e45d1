"""How takeovers are told from a history."""

from __future__ import annotations

from typing import Any

import pytest
from faultkit.history import Event
from faultkit.takeover import most_at_once, percentiles, running_at, takeovers, twice_started

SECOND = 1_000_000_000


def event(kind: str, at: float, job: str, pid: int, attempt: int = 1, **fields: Any) -> Event:
    return Event(kind=kind, at=int(at * SECOND), job=job, pid=pid, token=f"{job}{pid}{attempt}", plan={"kind": "ok"}, **fields)


HISTORY = [
    event("start", 0, "a", 1),
    event("start", 0, "b", 1),
    event("start", 0, "c", 2),
    event("end", 1, "b", 1),
    event("start", 5, "a", 2, 2),
    event("end", 6, "a", 2, 2),
]


def test_a_takeover_is_the_first_start_on_another_worker() -> None:
    [found] = takeovers(HISTORY, 1, 2 * SECOND, {})
    assert found.job == "a"
    assert found.seconds == pytest.approx(3.0)


@pytest.mark.parametrize(("workers", "again"), [(["h-1-x", "h-2-y"], False), (["h-1-x", "h-3-z", "h-2-y"], True)])
def test_a_job_whose_next_worker_died_too_before_it_started_was_hit_again(workers: list[str], again: bool) -> None:
    [found] = takeovers(HISTORY, 1, 2 * SECOND, {"a": {"attempts": [{"worker": name} for name in workers]}})
    assert found.again is again


def test_what_never_starts_again_is_told() -> None:
    [found] = takeovers(HISTORY, 2, 2 * SECOND, {})
    assert (found.job, found.seconds) == ("c", None)


def test_only_what_runs_at_the_time_counts() -> None:
    assert running_at(HISTORY, 1, SECOND // 2) == ["a", "b"]
    assert running_at(HISTORY, 1, 2 * SECOND) == ["a"]
    assert running_at(HISTORY, 2, 7 * SECOND) == ["c"]


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles([]) == {}
    assert percentiles([float(number) for number in range(101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}


def test_the_most_at_once() -> None:
    assert most_at_once(HISTORY) == 3


def test_a_second_start_and_a_lost_attempt_show_that_a_live_worker_was_given_up() -> None:
    rows = [
        {"id": "a", "attempts": [{"number": 1, "worker": "w", "outcome": "lost"}, {"number": 2, "worker": "w", "outcome": "succeeded"}]}
    ]
    assert len(twice_started(HISTORY, rows)) == 2
    assert twice_started([known for known in HISTORY if known.job != "a"], []) == []
