"""What becomes of a job after an attempt: decided without any server."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dtq.errors import Permanent, Retry
from dtq.job import Attempt, JobError, State, TerminalJob
from dtq.queue.claims import ClaimedJob
from dtq.retry import Backoff
from dtq_worker.outcome import Ending, Outcome, Policy, conclude, describe

POLICY = Policy(max_retries=2, backoff=Backoff(base=1.0, cap=10.0))


def claimed(**changes: Any) -> ClaimedJob:
    job = ClaimedJob("00000000001" + "00000n-default", "default", "noop", b'{"a":1}', "n", "1-0", 1)
    for name, value in changes.items():
        setattr(job, name, value)
    return job


def failed(cause: BaseException, kind: str = "error") -> Outcome:
    return Outcome("failed", 10, 20, error=JobError(kind, str(cause)), cause=cause, logs=["a line"])


def end(job: ClaimedJob, outcome: Outcome) -> Ending:
    return conclude(job, "worker-1", outcome, POLICY)


def test_success_is_terminal_with_result_and_attempt() -> None:
    ending = end(claimed(), Outcome("succeeded", 10, 20, b"[1]", output="key", logs=["a line"]))
    assert (ending.finish.op, ending.label) == ("k", "succeeded")
    row = msgspec.json.decode(ending.finish.text, type=TerminalJob)
    assert ending.row is not None
    assert row.state == ending.row.state == State.SUCCEEDED
    assert (bytes(row.payload), bytes(row.result or b""), row.output) == (b'{"a":1}', b"[1]", "key")
    assert row.attempts == [Attempt(1, "worker-1", 10, 20, "succeeded", None, ["a line"])]
    assert (row.submitted, row.started, row.finished) == (1, 10, 20)


def test_a_failure_with_retries_left_is_a_retry_that_keeps_the_attempt() -> None:
    ending = end(claimed(), failed(ValueError("bad")))
    assert (ending.finish.op, ending.row, ending.label) == ("r", None, "retried")
    attempt = msgspec.json.decode(ending.finish.text, type=Attempt)
    assert attempt == Attempt(1, "worker-1", 10, 20, "retry", JobError("error", "bad"), ["a line"])
    assert 500 <= ending.finish.delay_ms <= 1000


@pytest.mark.parametrize(("failures", "op"), [(0, "r"), (1, "r"), (2, "f"), (3, "f")])
def test_retries_run_out(failures: int, op: str) -> None:
    assert end(claimed(failures=failures), failed(ValueError("bad"))).finish.op == op


@pytest.mark.parametrize(("own", "op"), [(0, "f"), (1, "r"), (None, "r")])
def test_a_jobs_own_limit_counts_before_the_workers(own: int | None, op: str) -> None:
    assert end(claimed(max_retries=own), failed(ValueError("bad"))).finish.op == op


def test_crashes_do_not_use_up_retries() -> None:
    past = tuple(Attempt(number, "w", outcome=outcome) for number, outcome in enumerate(("lost", "retry", "lost"), 1))
    ending = end(claimed(crashes=2, failures=1, history=past), failed(ValueError("bad")))
    assert ending.finish.op == "r"
    assert msgspec.json.decode(ending.finish.text, type=Attempt).number == 4


def test_attempts_of_a_replayed_job_are_numbered_on() -> None:
    past = (Attempt(1, "w", outcome="failed"),)
    ending = end(claimed(replays=1, history=past), failed(ValueError("bad")))
    assert msgspec.json.decode(ending.finish.text, type=Attempt).number == 2


def test_attempts_are_numbered_on_where_only_the_latest_are_known() -> None:
    past = tuple(Attempt(number, "w", outcome="failed") for number in range(6, 26))
    ending = end(claimed(replays=5, history=past), failed(ValueError("bad")))
    assert msgspec.json.decode(ending.finish.text, type=Attempt).number == 26
    row = end(claimed(replays=5, history=past), Outcome("succeeded", 10, 20)).row
    assert row is not None
    assert row.attempts[-1].number == 26


def test_permanent_fails_at_once() -> None:
    ending = end(claimed(), failed(Permanent("never"), "permanent"))
    assert (ending.finish.op, ending.label) == ("f", "failed")


def test_retry_after_is_taken_as_it_is() -> None:
    assert end(claimed(), failed(Retry(after=12.5))).finish.delay_ms == 12_500


def test_a_failure_without_a_cause_is_permanent() -> None:
    assert end(claimed(), Outcome("failed", 10, 20, error=JobError("error", "?"))).finish.op == "f"


def test_handing_back_writes_nothing() -> None:
    ending = end(claimed(), Outcome("handed_back", 10, 20))
    assert (ending.finish.op, ending.finish.text, ending.row) == ("h", b"", None)


def test_cancelled_is_terminal_but_no_dead_letter() -> None:
    ending = end(claimed(), Outcome("cancelled", 10, 20, error=JobError("cancelled", "asked")))
    assert (ending.finish.op, ending.label) == ("k", "cancelled")


def test_the_history_comes_first() -> None:
    earlier = Attempt(1, "worker-0", 1, 2, "retry", JobError("error", "bad"))
    row = end(claimed(history=(earlier,), failures=1), Outcome("succeeded", 10, 20)).row
    assert row is not None
    assert [attempt.number for attempt in row.attempts] == [1, 2]


@pytest.mark.parametrize("payload", [b"{cut", b"", b'"\xff"', b"NaN", b'{"a":1} x', b"\x00"])
@pytest.mark.parametrize("kind", ["invalid_payload", "unknown_type"])
def test_a_payload_that_is_no_json_is_kept_as_a_string(payload: bytes, kind: str) -> None:
    text = end(claimed(payload=payload), failed(Permanent("bad"), kind)).finish.text
    assert json.loads(text.decode())["payload"] == payload.decode("utf-8", "replace")


def test_a_damaged_job_has_a_null_payload() -> None:
    text = end(claimed(payload=b"{cut", defect="no fields"), failed(Permanent("bad"), "invalid_payload")).finish.text
    assert json.loads(text)["payload"] is None


def test_an_error_says_what_where_and_of_which_class() -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        found = describe(error)
    assert (found.kind, found.type, found.message) == ("error", "ValueError", "bad")
    assert "test_worker_outcome.py" in found.traceback


@pytest.mark.parametrize("signal", [Permanent("never"), Retry("later")])
def test_signals_have_no_traceback_unless_they_have_a_cause(signal: Exception) -> None:
    assert describe(signal).traceback == ""
    signal.__cause__ = OSError("disk")
    assert "OSError: disk" in describe(signal).traceback


def test_an_error_without_words_shows_its_class() -> None:
    assert describe(KeyError()).message == "KeyError"


def test_odd_and_long_messages_can_be_stored() -> None:
    found = describe(ValueError("\x00\ud800" + "x" * 100_000))
    msgspec.json.encode(found)
    assert "\x00" not in found.message
    assert len(found.message) <= 8000
    assert len(found.traceback) <= 8000


def test_an_exception_that_cannot_be_printed_is_described() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(Odd()).type == "Odd"
