"""How each kind of end of a handler shows in the job, in Redis and in PostgreSQL."""

from __future__ import annotations

import itertools
import json
import statistics
from typing import Any

import pytest
from worker_bench import Bench, until

from dtq.job import Attempt, JobView, State, TerminalJob
from dtq.queue import keys
from dtq.queue.views import terminal_view


def kinds(job: JobView) -> list[str]:
    """The error kinds of the attempts, '' for one without an error."""
    return [attempt.error.kind if attempt.error else "" for attempt in job.attempts]


def outcomes(job: JobView) -> list[str]:
    return [attempt.outcome for attempt in job.attempts]


@pytest.mark.parametrize("name", ["echo", "sync_echo"])
async def test_a_result_is_kept_with_its_one_attempt(bench: Bench, name: str) -> None:
    worker = await bench.worker()
    job = await bench.run(name, {"text": "hé"})
    assert job.state == "succeeded"
    assert json.loads(job.result or b"") == {"text": "hé", "attempt": 1, "queue": "default"}
    [attempt] = job.attempts
    assert (attempt.number, attempt.worker, attempt.outcome, attempt.error) == (1, worker.name, "succeeded", None)
    assert job.submitted <= (attempt.started or 0) <= (attempt.finished or 0) == job.finished
    assert job.error is None


@pytest.mark.parametrize(
    ("name", "order"),
    [("echo", {"text": "a"}), ("raises", {"times": 1}), ("raises", {"times": 9}), ("permanent", {}), ("nobody", {}), ("echo", {"text": 5})],
)
async def test_the_row_in_postgresql_equals_redis_record(bench: Bench, name: str, order: dict[str, Any]) -> None:
    await bench.worker(maxretries=1)
    job = await bench.run(name, order, priority="high", timeout=5.0)
    row: TerminalJob = await bench.row(job.id)
    assert terminal_view(row) == job


async def test_rows_leave_the_outbox_once_stored(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("echo")
    await bench.row(job.id)

    async def empty() -> bool:
        return await bench.queue.outbox_length(["default"]) == 0

    await until("the outbox is empty", empty)


@pytest.mark.parametrize("name", ["raises", "sync_raises"])
async def test_failures_are_repeated_and_all_attempts_shown(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name, {"times": 2})
    assert job.state == "succeeded"
    assert outcomes(job) == ["retry", "retry", "succeeded"]
    assert kinds(job) == ["error", "error", ""]
    assert [attempt.number for attempt in job.attempts] == [1, 2, 3]


@pytest.mark.parametrize("name", ["raises", "sync_raises"])
async def test_an_error_has_its_class_and_traceback(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name, {"times": 9}, max_retries=0)
    assert job.error is not None
    assert (job.error.kind, job.error.type, job.error.message) == ("error", "ValueError", "attempt 1 is bad")
    assert "worker_jobs.py" in job.error.traceback
    assert job.error.traceback.rstrip().endswith("ValueError: attempt 1 is bad")


async def test_exhausted_retries_end_as_failed_in_the_dead_letters(bench: Bench) -> None:
    await bench.worker(maxretries=2)
    job = await bench.run("raises", {"times": 9})
    assert job.state == "failed"
    assert outcomes(job) == ["retry", "retry", "failed"]
    assert (await bench.queue.stats(["default"]))[0].dead == 1
    assert await bench.queue.client.zscore(keys.dead("default"), job.id) is not None


async def test_a_jobs_own_max_retries_counts(bench: Bench) -> None:
    await bench.worker(maxretries=5)
    job = await bench.run("raises", {"times": 9}, max_retries=1)
    assert len(job.attempts) == 2


@pytest.mark.parametrize("name", ["permanent", "sync_permanent"])
async def test_permanent_skips_the_retries(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.kind, job.error.message, job.error.traceback) == ("permanent", "never", "")
    assert len(job.attempts) == 1


@pytest.mark.parametrize("name", ["retry", "sync_retry"])
async def test_retry_after_is_honoured_to_the_moment(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Later than asked by the way through queue and pool only: an idle worker does not sleep through it.

    The median shows it, whatever else this machine was busy with now and then.
    """
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    await bench.worker()
    if name == "sync_retry":
        await bench.run("sync_echo")  # starts the pool
    mark = bench.mark()
    job = await bench.run(name, {"times": 4, "seconds": 0.3, "mark": mark}, max_retries=4)
    assert outcomes(job) == [*["retry"] * 4, "succeeded"]
    starts = [int(line[2]) for line in mark.lines]
    waits = [after - before for before, after in itertools.pairwise(starts)]
    assert min(waits) + 2 >= 300, waits
    assert statistics.median(waits) < 900, waits


async def test_retry_after_counts_against_the_retries(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("retry", {"times": 9, "seconds": 0.01}, max_retries=1)
    assert job.state == "failed"
    assert outcomes(job) == ["retry", "failed"]
    assert job.error is not None
    assert job.error.type == "Retry"


async def test_an_unknown_type_ends_as_failed_and_says_so(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("nobody", {"text": "x"})
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.kind == "unknown_type"
    assert "'nobody'" in job.error.message
    assert "HANDLERS" in job.error.message
    assert len(job.attempts) == 1


@pytest.mark.parametrize("name", ["echo", "sync_echo"])
async def test_a_payload_of_the_wrong_shape_names_the_fields(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name, {"seconds": "long", "colour": 1})
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.kind == "invalid_payload"
    assert "payload.seconds" in job.error.message
    assert "payload.colour" in job.error.message
    assert len(job.attempts) == 1


@pytest.mark.parametrize("name", ["echo", "sync_echo", "nobody"])
@pytest.mark.parametrize("payload", [b"{broken", b"", b'"\xff"', b'{"seconds": NaN}'], ids=["cut", "empty", "utf8", "nan"])
async def test_an_undecodable_payload_ends_the_job_and_spoils_no_other(bench: Bench, name: str, payload: bytes) -> None:
    """It shares its outbox entry with a good job, whose row must not be lost by it."""
    await bench.queue.pause("default")
    bad = await bench.submit(name, payload)
    good = await bench.submit("echo", {"text": "good"})
    await bench.queue.resume("default")
    await bench.worker()
    job = await bench.ended(bad)
    if payload != b'{"seconds": NaN}':
        assert job.state == "failed"
        assert job.error is not None
        assert job.error.kind == ("unknown_type" if name == "nobody" else "invalid_payload")
    json.loads(job.payload)
    assert (await bench.ended(good)).state == "succeeded"
    assert terminal_view(await bench.row(bad)) == job
    await bench.row(good)


async def test_a_damaged_entry_ends_as_failed(bench: Bench) -> None:
    await bench.queue.client.sadd(keys.QUEUES, "default")
    await bench.queue.client.xadd(keys.lane("default", "n"), {"what": "ever"})
    await bench.worker()

    async def dead() -> list[bytes]:
        found: list[bytes] = await bench.queue.client.zrange(keys.dead("default"), 0, -1)
        return found

    [job_id] = await until("it is a dead letter", dead)
    job = await bench.view(job_id.decode())
    assert job.error is not None
    assert (job.state, job.error.kind) == ("failed", "invalid_payload")


@pytest.mark.parametrize("name", ["not_json", "huge"])
async def test_a_result_that_cannot_be_kept_is_permanent(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.kind == "permanent"
    assert len(job.attempts) == 1


@pytest.mark.parametrize("name", ["logs", "sync_logs"])
async def test_log_lines_are_kept_with_the_attempt(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name, {"text": "blue"})
    lines = job.attempts[0].logs
    assert next(line.split(" ", 1)[1] for line in lines) == "WARNING tests.jobs: one blue"
    assert len(lines) == (2 if name == "logs" else 1)


async def test_log_lines_of_jobs_side_by_side_do_not_mix(bench: Bench) -> None:
    await bench.worker()
    ids = [await bench.submit("logs", {"text": f"job{n}", "seconds": 0.1}) for n in range(4)]
    for n, job_id in enumerate(ids):
        lines = (await bench.ended(job_id)).attempts[0].logs
        assert [line.split(": ", 1)[1] for line in lines] == [f"one job{n}", f"two job{n}"]


async def test_log_lines_of_a_failed_attempt_are_its_handlers_alone(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("raises", {"times": 1})
    assert job.attempts[0].logs == []


async def test_a_bad_log_call_does_not_fail_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logging.raiseExceptions", False)
    await bench.worker()
    job = await bench.run("bad_logs")
    assert job.state == "succeeded"
    assert terminal_view(await bench.row(job.id)).result == job.result


@pytest.mark.parametrize("name", ["progress", "sync_progress"])
async def test_progress_shows_while_running(bench: Bench, name: str) -> None:
    await bench.worker()
    gate = bench.gate()
    job_id = await bench.submit(name, {"gate": gate})

    async def shown() -> dict[str, object] | None:
        return (await bench.view(job_id)).progress

    assert await until("progress shows", shown) == {"fraction": 0.5, "message": "half"}
    assert (await bench.view(job_id)).state == "running"
    gate.open()
    assert (await bench.ended(job_id)).progress is None


async def test_a_running_job_shows_its_attempt(bench: Bench) -> None:
    worker = await bench.worker()
    job_id = await bench.submit("sleep", {"seconds": 100}, timeout=200.0)
    job = await bench.is_in(job_id, "running")
    assert [(attempt.number, attempt.worker, attempt.outcome) for attempt in job.attempts] == [(1, worker.name, "running")]
    await bench.queue.cancel(job_id)


async def test_output_of_a_handler_process_is_kept(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("sync_output")
    assert job.output == "files/a.png"
    assert (await bench.row(job.id)).output == "files/a.png"


@pytest.mark.parametrize("name", ["unprintable", "sync_unprintable", "exits", "sync_exits", "closes", "sync_closes", "kills_process"])
async def test_whatever_a_handler_does_is_its_jobs_failure(bench: Bench, name: str) -> None:
    await bench.worker(workercount=1)
    job = await bench.run(name, max_retries=1)
    assert job.state == "failed"
    assert kinds(job) == ["error", "error"]
    assert (await bench.run("echo")).state == "succeeded"


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("retry_at", "inf", "ValueError"),
        ("odd_output", "a/b", "TypeError"),
        ("odd_output", "", "TypeError"),
        ("sync_odd_output", "a", "ValueError"),
        ("odd_signal", "", "OverflowError"),
    ],
)
async def test_a_wrong_value_from_a_handler_fails_its_attempt_and_no_slot_is_lost(bench: Bench, name: str, text: str, error: str) -> None:
    worker = await bench.worker(workercount=1)
    job = await bench.run(name, {"text": text}, max_retries=1)
    assert (job.state, kinds(job)) == ("failed", ["error", "error"])
    assert job.attempts[0].error is not None
    assert job.attempts[0].error.type == error
    assert (await bench.run("echo")).state == "succeeded"
    assert not worker._executor.active


@pytest.mark.parametrize("name", ["retry_because", "sync_retry_because"])
async def test_an_expected_retry_keeps_one_line_of_its_cause(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name, max_retries=0)
    assert job.error is not None
    assert (job.error.message, job.error.traceback) == ("not yet", "caused by ConnectionError: refused")


@pytest.mark.parametrize("name", ["permanent_because", "sync_permanent_because"])
async def test_permanent_keeps_the_traceback_of_its_cause(bench: Bench, name: str) -> None:
    await bench.worker()
    job = await bench.run(name)
    assert job.error is not None
    assert job.error.kind == "permanent"
    assert "ConnectionError: refused" in job.error.traceback
    assert "worker_jobs.py" in job.error.traceback


async def test_every_state_is_a_legal_end(bench: Bench) -> None:
    await bench.worker()
    assert [(await bench.run(name)).state for name in ("echo", "permanent")] == [State.SUCCEEDED, State.FAILED]


def test_attempts_need_no_error() -> None:
    assert Attempt(1, "w").error is None
