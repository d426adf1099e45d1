"""When a failed job runs again."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtq.errors import Permanent, Retry
from dtq.retry import Backoff, decide

ERROR = RuntimeError("boom")
PLAIN = Backoff(base=1.0, cap=600.0)

chances = st.floats(0, 1, exclude_max=True)


@given(st.floats(0.001, 3600), st.floats(0.001, 86_400), st.integers(1, 10_000), chances)
def test_backoff_stays_in_the_upper_half_of_its_range(base: float, cap: float, failures: int, chance: float) -> None:
    ceiling = min(cap, base * 2.0 ** min(failures - 1, 62))
    assert ceiling / 2 <= Backoff(base, cap).delay(failures, chance) <= ceiling <= cap


@given(st.integers(1, 100), chances)
def test_backoff_never_shrinks_with_failures(failures: int, chance: float) -> None:
    assert PLAIN.delay(failures, chance) <= PLAIN.delay(failures + 1, chance)


def test_backoff_doubles() -> None:
    assert [PLAIN.delay(n, 0.0) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]


def test_backoff_is_spread_by_chance() -> None:
    assert len({PLAIN.delay(5) for _ in range(50)}) > 1


@given(st.integers(0, 100), st.integers(1, 200))
def test_job_runs_at_most_once_more_than_its_retries(max_retries: int, failures: int) -> None:
    again = decide(ERROR, failures, max_retries, PLAIN).retry_in is not None
    assert again == (failures <= max_retries)


def test_permanent_ends_at_once() -> None:
    assert decide(Permanent("no"), 1, 5, PLAIN).retry_in is None


@pytest.mark.parametrize(("after", "expected"), [(0.0, 0.0), (7.5, 7.5), (100_000.0, 100_000.0)])
def test_wished_delay_is_honoured(after: float, expected: float) -> None:
    assert decide(Retry("later", after=after), 1, 5, PLAIN).retry_in == expected


def test_wished_delay_gives_no_further_retry() -> None:
    assert decide(Retry("later", after=1.0), 6, 5, PLAIN).retry_in is None


def test_retry_without_a_delay_backs_off() -> None:
    assert decide(Retry("later"), 2, 5, PLAIN, rand=0.0).retry_in == 1.0


def test_retry_survives_the_way_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(Retry("later", after=3.0)))
    assert (str(copy), copy.after) == ("later", 3.0)
