"""What a frozen worker's late result would look like is told from a job that ran elsewhere."""

from __future__ import annotations

from typing import Any

from faultkit.history import Event
from scenarios.freeze import late_results

HISTORY = [
    Event(kind="start", at=1, job="a", pid=1, token="old"),
    Event(kind="start", at=9, job="a", pid=2, token="new"),
    Event(kind="start", at=12, job="a", pid=1, token="thawed"),
]


def rows(token: str) -> list[dict[str, Any]]:
    return [{"id": "a", "result": {"token": token}}]


def test_a_result_of_an_execution_begun_before_the_freeze_is_late() -> None:
    assert late_results(HISTORY, rows("old"), pid=1, at=5, jobs=["a"]) == ["a"]


def test_a_result_from_elsewhere_and_one_begun_after_the_thaw_are_not() -> None:
    assert late_results(HISTORY, rows("new"), pid=1, at=5, jobs=["a"]) == []
    assert late_results(HISTORY, rows("thawed"), pid=1, at=5, jobs=["a"]) == []
    assert late_results(HISTORY, [{"id": "a", "result": None}], pid=1, at=5, jobs=["a"]) == []
