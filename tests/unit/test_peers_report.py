"""How `make bench-peers` sums up what it measured."""

from __future__ import annotations

import re
from typing import Any

import pytest
from peers.report import best_nap, latency, marked, nap, naps_at_each, percentile, recovered, report, spread, table
from peers.systems import SYSTEMS
from peers.turn import blank, without

AT_LEAST, AT_MOST = {"delivery": "at least once", "recovers_after": 60.0}, {"delivery": "at most once", "recovers_after": 0.0}


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([], 0, "-"),
        ([1234.6], 0, "1,235"),
        ([300.0, 100.0, 200.0], 0, "200 (100-300)"),
        ([1.0, 2.0], 1, "1.5 (1.0-2.0)"),
    ],
)
def test_median_with_smallest_and_largest(values: list[float], digits: int, text: str) -> None:
    assert spread(values, digits) == text


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert (percentile(values, 0), percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1)) == (1, 51, 100, 100)
    assert percentile([7.0], 0.99) == 7
    assert latency([1.0, 3.0, 2.0]) == "2.00 / 3.00"


def test_who_may_lose_a_job_is_marked() -> None:
    assert marked("huey", {"info": AT_MOST}) == "huey †"
    assert marked("dtq", {"info": AT_LEAST}) == "dtq"
    assert marked("failed-to-start", {}) == "failed-to-start"


def test_table() -> None:
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_the_slots_with_the_highest_median_count() -> None:
    runs = [{"slots": 10, "rate": 900.0}, {"slots": 100, "rate": 9_900.0}, {"slots": 100, "rate": 500.0}, {"slots": 100, "rate": 700.0}]
    assert best_nap({"naps": {"10": runs}}, "10") == (10, [900.0])
    assert nap({"naps": {"10": runs}}, "10") == "900 at 10, 0.90"
    assert nap({"naps": {}}, "10") == "-"
    assert naps_at_each({"naps": {"10": runs}}, "10") == "10: 900 (0.90), 100: 700 (0.07)"


def test_recovery_is_measured_or_documented_or_never() -> None:
    assert recovered({"info": AT_LEAST, "recovery": {"first_s": 4.0, "last_s": 4.26}}) == "4.3"
    assert recovered({"info": AT_LEAST, "recovery": {"waited_s": 120.0, "missing": 6, "jobs": 20}}) == "> 120 (6 of 20)"
    assert recovered({"info": AT_LEAST}) == "60 (documented)"
    assert recovered({"info": AT_MOST}) == "never"
    assert recovered({}) == "-"


def error(row: str, text: str = "it failed") -> dict[str, Any]:
    return {"row": row, "text": text, "failed": True}


def found(**more: Any) -> dict[str, Any]:
    notes = dict.fromkeys(("guarantee", "results", "worker_note", "bulk_note"), "as is")
    run = {"rate": 1000.0, "worker_us": 1.0, "redis_us": 2.0, "postgres_us": 0.0}
    return blank() | {"info": AT_LEAST | notes | {"versions": {"it": "1.0"}}, "one": [run], "bulk": [{"n": 500, "s": 0.5}]} | more


def test_every_table_of_the_report_is_whole_also_where_things_failed() -> None:
    document = {
        "when": "now", "processor": "p", "cores": 2, "memory_gb": 1, "system": "s", "python": "3", "rounds": 1, "scale": 1,
        "raw": {"memory": [5.0]},
        "passes": {
            "memory": {"whole": found(), "failed": blank() | {"errors": [error("one", "no answer\ntrace")]}}, "always": {"whole": found()},
        },
    }  # fmt: skip
    text = report(document)
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        assert len({line.count(" | ") for line in block.splitlines()}) == 1
    assert "| whole | 1,000 | - | - | 1,000 | - |" in text
    assert "- memory, failed, one: no answer" in text
    assert "dtq with one worker" not in text
    ours = report(document | {"raw": {"always": [2000.0]}, "passes": {"always": {"dtq": found()}}})
    assert "dtq with one worker makes 0.50 of it" in ours
    assert "trace" not in text


def test_systems_are_complete() -> None:
    assert next(iter(SYSTEMS)) == "dtq"
    for name, system in SYSTEMS.items():
        assert set(system.broker.split("+")) <= {"redis", "postgres"}, name
        assert system.environment or name == "dtq"


def test_rows_that_are_measured_again_are_forgotten_and_all_others_kept() -> None:
    before = found(
        naps={"1": [{"slots": 1}], "10": [{"slots": 2}]}, latency_ms=[1.0], recovery={"last_s": 4.0}, errors=[error("nap1"), error("one")]
    )
    after = without(before, frozenset({"nap1", "latency"}))
    assert (after["naps"], after["latency_ms"], after["errors"]) == ({"10": [{"slots": 2}]}, [], [error("one")])
    assert (after["one"], after["bulk"], after["recovery"]) == (before["one"], before["bulk"], before["recovery"])
    assert without(before, frozenset()) == blank()
