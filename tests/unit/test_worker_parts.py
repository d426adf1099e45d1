"""Small parts of the worker: results, log capture, metrics, progress, process names."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel

from dtq.errors import Permanent
from dtq.job import JobError
from dtq.queue.claims import ClaimedJob
from dtq.retry import Backoff
from dtq_worker.metrics import OUTCOMES, WorkerMetrics
from dtq_worker.outcome import Ending, Outcome, Policy, conclude
from dtq_worker.slots import MAX_LOG_CHARS, MAX_LOG_LINES, LogCapture, Running, Seat, current
from dtq_worker.values import MAX_RESULT, encode_result
from dtq_worker.worker import worker_name

# ---------------------------------------------------------------- results


class Model(BaseModel):
    when: dt.date


@dataclasses.dataclass
class Pair:
    left: int
    right: str


class Struct(msgspec.Struct):
    a: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        ("hé", "hé"),
        ({"a": [1, None, True]}, {"a": [1, None, True]}),
        (Model(when=dt.date(2024, 2, 29)), {"when": "2024-02-29"}),
        ([Model(when=dt.date(2024, 2, 29))], [{"when": "2024-02-29"}]),
        (Pair(1, "b"), {"left": 1, "right": "b"}),
        (Struct(1), {"a": 1}),
        ((1, 2), [1, 2]),
        (float("nan"), None),
        (2**70, 2**70),
    ],
)
def test_what_json_can_hold_is_a_result(value: Any, expected: Any) -> None:
    assert json.loads(encode_result(value) or b"") == expected


def test_none_is_no_result() -> None:
    assert encode_result(None) is None


def _loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, "\ud800", _loop(), lambda: None, 1j], ids=lambda value: type(value).__name__)
def test_what_json_cannot_hold_is_a_permanent_failure(value: Any) -> None:
    with pytest.raises(Permanent):
        encode_result(value)


def test_a_result_has_a_largest_size() -> None:
    assert encode_result("x" * (MAX_RESULT - 2)) is not None
    with pytest.raises(Permanent, match="blob store"):
        encode_result("x" * (MAX_RESULT - 1))


# ---------------------------------------------------------------- log capture


def running() -> Running:
    return Running(ClaimedJob("0000000000100000n-default", "default", "noop", b"{}", "n", "1-0", 1), 0.0, 1.0)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger("tests.capture")
    capture = LogCapture()
    found.addHandler(capture)
    yield found
    found.removeHandler(capture)


@pytest.fixture
def seat() -> Iterator[Seat]:
    found = Seat()
    token = current.set(found)
    yield found
    current.reset(token)


def test_lines_go_to_the_job_in_the_seat(logger: logging.Logger, seat: Seat) -> None:
    seat.running = running()
    logger.warning("one %d", 1)
    [line] = seat.running.log_lines()
    assert line.endswith(" WARNING tests.capture: one 1")


def test_lines_outside_a_job_go_nowhere(logger: logging.Logger, seat: Seat) -> None:
    logger.warning("nobody")


def test_what_the_worker_says_is_not_the_handlers(seat: Seat) -> None:
    seat.running = running()
    LogCapture().handle(logging.LogRecord("dtq.worker", logging.WARNING, "", 0, "internal", None, None))
    assert seat.running.log_lines() == []


def test_many_and_long_lines_are_cut() -> None:
    job = running()
    for _ in range(MAX_LOG_LINES + 5):
        job.add_log("x" * 2 * MAX_LOG_CHARS)
    lines = job.log_lines()
    assert len(lines) == MAX_LOG_LINES + 1
    assert len(lines[0]) == MAX_LOG_CHARS
    assert lines[-1] == "... 5 more lines"


def test_a_line_with_half_a_character_can_be_encoded() -> None:
    job = running()
    job.add_log("half \ud83d")
    msgspec.json.encode(job.log_lines())


def test_the_first_reason_to_stop_stands() -> None:
    job = running()
    calls: list[int] = []
    job.interrupt = lambda: calls.append(1)
    job.stop("cancelled")
    job.stop("timeout")
    assert (job.reason, len(calls), job.is_stopped()) == ("cancelled", 2, True)


# ---------------------------------------------------------------- metrics


def ending(kind: str, **changes: Any) -> Ending:
    job = running().job
    for name, value in changes.items():
        setattr(job, name, value)
    error = None if kind == "succeeded" else JobError("error", "bad")
    outcome = Outcome(kind, 101, 351, error=error, cause=ValueError("bad"))
    return conclude(job, "worker-1", outcome, Policy(2, Backoff()))


def exported(metrics: WorkerMetrics) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def nothing() -> tuple[list[str], list[str]]:
    return [], []


def test_counters_are_there_before_the_first_job() -> None:
    """What begins at 1 shows no increase."""
    metrics = WorkerMetrics(lambda: (0, 10), lambda: 5.0, lambda: (["a", "b"], ["noop"]))
    found = exported(metrics)
    assert {name for name, value in found.items() if name.startswith(("dtq_jobs_finished", "dtq_job_retries")) and value == 0} == {
        *(f'dtq_jobs_finished_total{{outcome="{end}",queue="{name}",type="noop"}}' for end in OUTCOMES for name in "ab"),
        *(f'dtq_job_retries_total{{queue="{name}",type="noop"}}' for name in "ab"),
    }


def test_counters_of_very_many_queues_come_with_their_jobs() -> None:
    many = [f"q{number}" for number in range(501)]
    assert not [name for name in exported(WorkerMetrics(lambda: (0, 10), lambda: 5.0, lambda: (many, ["noop"]))) if "finished" in name]


def test_endings_are_counted_by_outcome() -> None:
    metrics = WorkerMetrics(lambda: (3, 10), lambda: 5.0, nothing)
    metrics.count([ending("succeeded"), ending("succeeded"), ending("failed"), ending("failed", failures=2), ending("cancelled")])
    found = exported(metrics)
    labels = 'queue="default",type="noop"'
    assert found[f'dtq_jobs_finished_total{{outcome="succeeded",{labels}}}'] == 2
    assert found[f'dtq_jobs_finished_total{{outcome="failed",{labels}}}'] == 1
    assert found[f'dtq_jobs_finished_total{{outcome="cancelled",{labels}}}'] == 1
    assert found[f"dtq_job_retries_total{{{labels}}}"] == 1
    assert found[f"dtq_job_duration_seconds_count{{{labels}}}"] == 5
    assert found[f"dtq_job_duration_seconds_sum{{{labels}}}"] == pytest.approx(1.25)
    assert found[f'dtq_job_duration_seconds_bucket{{le="0.25",{labels}}}'] == 5
    assert found[f'dtq_job_duration_seconds_bucket{{le="0.1",{labels}}}'] == 0
    assert found[f"dtq_job_wait_seconds_count{{{labels}}}"] == 4
    assert found[f"dtq_job_wait_seconds_sum{{{labels}}}"] == pytest.approx(0.4)


def test_handing_back_is_no_ending() -> None:
    metrics = WorkerMetrics(lambda: (0, 10), lambda: 5.0, nothing)
    metrics.count([ending("handed_back")])
    assert not [name for name in exported(metrics) if "finished" in name or "duration" in name or "wait" in name]


def test_slots_and_heartbeat_are_shown() -> None:
    found = exported(WorkerMetrics(lambda: (3, 10), lambda: 5.0, nothing))
    assert (found['dtq_worker_slots{state="busy"}'], found['dtq_worker_slots{state="free"}']) == (3, 7)
    assert found["dtq_worker_last_heartbeat_timestamp_seconds"] == 5


def test_no_two_lives_have_one_name() -> None:
    assert len({worker_name() for _ in range(100)}) == 100
