"""Time-outs, cancellation, slots, and that no job harms another."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

import pytest
import worker_jobs
from worker_bench import Bench, until

from dtq.job import JobView

MAX_PID = 2**22
"""No process of Linux has a greater id."""


def folders(base: Path) -> list[str]:
    return [path.name for path in base.glob("dtq-*")]


def error_kinds(job: JobView) -> list[str]:
    return [attempt.error.kind if attempt.error else "" for attempt in job.attempts]


# ---------------------------------------------------------------- time-outs


@pytest.mark.parametrize("name", ["sleep", "sync_sleep", "spin"])
async def test_a_job_past_its_timeout_is_ended_and_the_next_one_runs(bench: Bench, name: str) -> None:
    await bench.worker(workercount=1)
    if name != "sleep":
        await bench.run("sync_echo")  # starts the pool
    began = time.monotonic()
    job = await bench.run(name, {"seconds": 30}, timeout=0.3, max_retries=0)
    assert time.monotonic() - began < 20  # of the 30 s it would take
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.kind, job.error.type) == ("timeout", "TimeoutError")
    assert "0.3 s" in job.error.message
    assert (await bench.run("sync_echo" if name != "sleep" else "echo")).state == "succeeded"


@pytest.mark.parametrize("name", ["sleep", "sync_sleep"])
@pytest.mark.parametrize("step", [-1200, 1200])
async def test_a_clock_that_is_set_shifts_no_timeout(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, step: int) -> None:
    """Neither does a job run on past its time-out, nor is one ended before."""
    await bench.worker(processes=2)
    await bench.run("sync_echo")  # starts the pool
    mark, clock = bench.mark(), time.time
    endless = await bench.submit(name, {"seconds": 60, "mark": mark}, timeout=3.0, max_retries=0)
    short = await bench.submit(name, {"seconds": 1.5, "mark": mark}, timeout=30.0, max_retries=0)
    await until("both run", lambda: len(mark.lines) == 2)
    monkeypatch.setattr(time, "time", lambda: clock() + step)
    assert error_kinds(await bench.ended(endless)) == ["timeout"]
    assert (await bench.ended(short)).state == "succeeded"


async def test_the_folder_of_a_pool_whose_worker_was_killed_is_removed_by_the_next(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"dtq-scratch-{MAX_PID + 1}-left"
    left.mkdir()
    left.joinpath("reports").touch()
    worker = await bench.worker()
    await bench.run("sync_echo")  # starts the pool
    [own] = folders(tmp_path)
    assert own != left.name
    await bench.stop(worker)
    assert folders(tmp_path) == []


async def test_a_timeout_is_retried(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("sleep", {"seconds": 30}, timeout=0.1, max_retries=1)
    assert error_kinds(job) == ["timeout", "timeout"]


async def test_the_workers_timeout_holds_for_jobs_that_name_none(bench: Bench) -> None:
    await bench.worker(workertimeout=0.1, maxretries=0)
    job = await bench.run("sleep", {"seconds": 30})
    assert error_kinds(job) == ["timeout"]


async def test_a_killed_process_takes_no_other_job_with_it(bench: Bench) -> None:
    await bench.worker(processes=2)
    stuck = await bench.submit("spin", {"seconds": 30}, timeout=0.5, max_retries=0)
    fine = await bench.submit("sync_sleep", {"seconds": 1.5})
    assert error_kinds(await bench.ended(stuck)) == ["timeout"]
    job = await bench.ended(fine)
    assert (job.state, len(job.attempts)) == ("succeeded", 1)


async def test_busy_processes_do_not_stall_jobs_on_the_loop(bench: Bench) -> None:
    await bench.worker(processes=1)
    await bench.run("sync_echo")
    busy = await bench.submit("spin", {"seconds": 100}, timeout=200.0)
    await bench.is_in(busy, "running")
    for _ in range(5):
        await bench.run("echo")
    assert (await bench.view(busy)).state == "running"
    await bench.queue.cancel(busy)
    await bench.queue.cancel(busy)


@pytest.mark.parametrize(("swallowed", "state"), [(1, "succeeded"), (2, "succeeded")])
async def test_a_handler_that_swallows_its_timeout_still_ends(bench: Bench, swallowed: int, state: str) -> None:
    """It is interrupted again every second, and what it then returns stands."""
    await bench.worker(workercount=1)
    job = await bench.run("stubborn", {"times": swallowed}, timeout=0.1)
    assert (job.state, job.result) == (state, b'"done anyway"')


# ---------------------------------------------------------------- cancellation


@pytest.mark.parametrize("name", ["sleep", "sync_sleep", "spin"])
async def test_cancelling_a_running_job_reaches_its_worker(bench: Bench, name: str) -> None:
    await bench.worker()
    mark = bench.mark()
    job_id = await bench.submit(name, {"seconds": 30, "mark": mark}, timeout=60.0)
    await until("the handler runs", lambda: mark.lines)
    began = time.monotonic()
    assert await bench.queue.cancel(job_id) == "running"
    job = await bench.ended(job_id)
    assert time.monotonic() - began < 20  # of the 30 s it would take; usually half a second
    assert job.state == "cancelled"
    assert error_kinds(job) == ["cancelled"]
    assert (await bench.row(job_id)).state == "cancelled"


async def test_cancelling_a_job_that_waits_for_a_process_ends_it(bench: Bench) -> None:
    await bench.worker(processes=1)
    mark = bench.mark()
    first = await bench.submit("spin", {"seconds": 100, "mark": mark}, timeout=200.0)
    await until("the first runs", lambda: mark.lines)
    second = await bench.submit("spin", {"seconds": 0, "mark": mark})
    await bench.is_in(second, "running")
    await bench.queue.cancel(second)
    assert (await bench.ended(second)).state == "cancelled"
    assert len(mark.lines) == 1
    await bench.queue.cancel(first)


async def test_a_cancelled_job_leaves_others_alone(bench: Bench) -> None:
    await bench.worker()
    gate = bench.gate()
    first, second = [await bench.submit("held", {"gate": gate}) for _ in range(2)]
    await bench.is_in(second, "running")
    await bench.queue.cancel(first)
    assert (await bench.ended(first)).state == "cancelled"
    gate.open()
    assert (await bench.ended(second)).state == "succeeded"


async def test_cancelling_between_attempts_ends_the_job(bench: Bench) -> None:
    await bench.worker()
    job_id = await bench.submit("retry", {"times": 9, "seconds": 60})
    await bench.is_in(job_id, "retrying")
    assert await bench.queue.cancel(job_id) == "cancelled"
    job = await bench.view(job_id)
    assert (job.state, len(job.attempts)) == ("cancelled", 1)


# ---------------------------------------------------------------- odd handlers


async def test_a_handler_that_awaits_something_cancelled_fails_and_is_counted(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("awaits_cancelled", max_retries=1)
    assert job.state == "failed"
    assert error_kinds(job) == ["error", "error"]
    assert job.error is not None
    assert job.error.type == "CancelledError"


async def test_a_handler_that_cancels_itself_fails_and_is_counted(bench: Bench) -> None:
    await bench.worker(workercount=1)
    job = await bench.run("cancels_itself", {"seconds": 5}, max_retries=1)
    assert error_kinds(job) == ["error", "error"]


async def test_a_pending_cancellation_does_not_hit_the_next_job(bench: Bench) -> None:
    """The handler returns before the cancellation it asked for arrives; the jobs behind it are in the same batch."""
    await bench.queue.pause("default")
    first = await bench.submit("cancels_itself")
    others = [await bench.submit("echo") for _ in range(10)]
    await bench.queue.resume("default")
    await bench.worker(workercount=20)
    assert (await bench.ended(first)).state == "succeeded"
    for job_id in others:
        job = await bench.ended(job_id)
        assert (job.state, len(job.attempts)) == ("succeeded", 1)


async def test_after_a_swallowed_timeout_a_foreign_cancellation_is_still_an_error(bench: Bench) -> None:
    """The runner that served the stubborn job must not take the next CancelledError for a shutdown."""
    await bench.worker(workercount=1)
    stubborn = await bench.submit("stubborn", {"times": 1}, timeout=0.1)
    after = await bench.submit("awaits_cancelled", max_retries=0)
    await bench.ended(stubborn)
    assert error_kinds(await bench.ended(after)) == ["error"]


@pytest.mark.parametrize("together", [True, False])
async def test_context_variables_do_not_leak_into_the_next_job(bench: Bench, together: bool) -> None:
    await bench.queue.pause("default")
    ids = []
    for _ in range(5):
        await bench.submit("set_tenant", {"text": "acme"})
        ids.append(await bench.submit("get_tenant"))
    await bench.queue.resume("default")
    await bench.worker(workercount=20 if together else 1)
    for job_id in ids:
        assert json.loads((await bench.ended(job_id)).result or b"") == "nobody"


# ---------------------------------------------------------------- slots


async def test_no_more_jobs_run_at_once_than_there_are_slots(bench: Bench) -> None:
    worker_jobs.Slots.peak = worker_jobs.Slots.now = 0
    await bench.queue.pause("default")
    ids = [await bench.submit("slot", {"seconds": 0.02}) for _ in range(30)]
    await bench.queue.resume("default")
    await bench.worker(workercount=3)
    for job_id in ids:
        await bench.ended(job_id)
    assert worker_jobs.Slots.peak == 3


async def test_only_as_many_jobs_are_claimed_as_slots_are_free(bench: Bench) -> None:
    """What a worker cannot start is left for others."""
    await bench.queue.pause("default")
    ids = [await bench.submit("sleep", {"seconds": 100}, timeout=200.0) for _ in range(6)]
    await bench.queue.resume("default")
    await bench.worker(workercount=2)
    await bench.is_in(ids[1], "running")
    [stats] = await bench.queue.stats(["default"])
    assert (stats.running, stats.ready) == (2, 4)
    await bench.worker(workercount=3)
    await bench.is_in(ids[4], "running")
    [stats] = await bench.queue.stats(["default"])
    assert (stats.running, stats.ready) == (5, 1)


async def test_a_long_job_does_not_hold_up_short_ones(bench: Bench) -> None:
    await bench.worker(workercount=2)
    long = await bench.submit("sleep", {"seconds": 100}, timeout=200.0)
    for _ in range(20):
        await bench.run("echo")
    assert (await bench.view(long)).state == "running"


async def test_failing_jobs_do_not_hold_up_good_ones(bench: Bench) -> None:
    await bench.worker(workercount=2)
    bad = [await bench.submit(name, max_retries=100) for name in ("unprintable", "exits", "awaits_cancelled", "kills_process") * 3]
    good = [await bench.submit("echo") for _ in range(20)]
    for job_id in good:
        assert (await bench.ended(job_id)).state == "succeeded"
    for job_id in bad:
        await bench.queue.cancel(job_id)
    await asyncio.gather(*(bench.ended(job_id) for job_id in bad))


async def test_a_job_that_comes_back_while_it_runs_replaces_its_old_attempt(bench: Bench) -> None:
    """Its lease was lost for a moment: the scheduler gave the job back, and this worker has slots free."""
    worker = await bench.worker()
    mark = bench.mark()
    job_id = await bench.submit("sleep", {"seconds": 60, "mark": mark}, timeout=100.0)
    await until("the handler runs", lambda: mark.lines)
    worker._heartbeat._lost = lambda _queue, _sent_at: None  # the news of the loss comes late
    await bench.lose_leases()
    await until("it runs again", lambda: len(mark.lines) == 2)
    await until("the old attempt is over", lambda: len(worker._executor.active) == 1)
    assert await bench.queue.cancel(job_id) == "running"
    job = await bench.ended(job_id)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("cancelled", ["lost", "cancelled"])
    [stats] = await bench.queue.stats(["default"])
    assert (stats.running, stats.ready, len(worker._executor.active)) == (0, 0, 0)
