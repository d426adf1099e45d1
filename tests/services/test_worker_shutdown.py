"""The graceful stop: nothing is claimed any more, short jobs end, long ones go back uncounted."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from worker_bench import Bench, until

from dtq.queue import Queue, keys


async def test_running_jobs_may_end_within_shutdownseconds(bench: Bench) -> None:
    worker = await bench.worker(shutdownseconds=60.0)
    gate = bench.gate()
    ids = [await bench.submit(name, {"gate": gate}) for name in ("held", "sync_held")]
    for job_id in ids:
        await bench.is_in(job_id, "running")
    stopping = asyncio.create_task(bench.stop(worker))
    await until("it is stopping", lambda: worker._fetcher._stop.is_set())
    gate.open()
    assert await stopping < 50  # of the 60 s they may take
    for job_id in ids:
        job = await bench.view(job_id)
        assert (job.state, len(job.attempts)) == ("succeeded", 1)
        assert (await bench.store.get(job_id)) is not None


@pytest.mark.parametrize("name", ["sleep", "sync_sleep", "spin"])
async def test_long_jobs_are_handed_back_uncounted(bench: Bench, name: str) -> None:
    worker = await bench.worker(shutdownseconds=0.2)
    mark = bench.mark()
    job_id = await bench.submit(name, {"seconds": 60, "mark": mark}, timeout=100.0)
    await until("the handler runs", lambda: mark.lines)
    assert await bench.stop(worker) < 20  # neither the 60 s they would take, nor the 30 s that are the default
    job = await bench.view(job_id)
    assert (job.state, job.attempts) == ("queued", ())


async def test_a_job_that_waits_for_a_process_is_handed_back(bench: Bench) -> None:
    worker = await bench.worker(shutdownseconds=0.1, processes=1)
    ids = [await bench.submit("spin", {"seconds": 60}, timeout=100.0) for _ in range(3)]
    await bench.is_in(ids[2], "running")
    await bench.stop(worker)
    assert [(await bench.view(job_id)).state for job_id in ids] == ["queued"] * 3


async def test_handed_back_jobs_run_first_elsewhere(bench: Bench) -> None:
    first = await bench.worker(shutdownseconds=0.0, workercount=1)
    mark = bench.mark()
    low = await bench.submit("sleep", {"seconds": 60, "mark": mark, "text": "back"}, priority="low")
    await until("the handler runs", lambda: mark.lines)
    await bench.submit("echo", {"mark": mark, "text": "other"}, priority="high")
    await bench.stop(first)
    await bench.worker(workercount=1)
    await until("it runs again", lambda: len(mark.lines) >= 2)
    assert mark.texts[:2] == ["back", "back"]
    assert (await bench.view(low)).attempts[0].number == 1
    await bench.queue.cancel(low)


async def test_an_idle_worker_takes_a_handed_back_job_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and does not find it by its next look around."""
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    first = await bench.worker(shutdownseconds=0.0)
    mark = bench.mark()
    job_id = await bench.submit("sleep", {"seconds": 60, "mark": mark})
    await until("the handler runs", lambda: mark.lines)
    await bench.worker()

    async def both_idle() -> bool:
        return bool(await bench.queue.client.zcard(keys.idle("default")) == 2)

    await until("both wait for more", both_idle)
    await bench.stop(first)
    await until("it runs again", lambda: len(mark.lines) == 2)
    await bench.queue.cancel(job_id)


async def test_claiming_stops_at_once(bench: Bench) -> None:
    worker = await bench.worker(shutdownseconds=60.0)
    gate = bench.gate()
    running = await bench.submit("held", {"gate": gate})
    await bench.is_in(running, "running")
    stopping = asyncio.create_task(bench.stop(worker))
    fetcher = worker._fetcher
    await until("it claims no more", lambda: all(task.done() for task in fetcher._tasks) and not fetcher._inbox.offers, 3.5)
    late = await bench.submit("echo")
    gate.open()
    await stopping
    assert (await bench.view(late)).state == "queued"
    assert (await bench.view(running)).state == "succeeded"


async def test_an_idle_worker_stops_quickly_and_leaves_nothing(bench: Bench) -> None:
    worker = await bench.worker(shutdownseconds=30.0)
    await bench.run("echo")
    assert await bench.stop(worker) < 4.5  # waiting for what does not come would take 5 s, or 10
    assert await bench.queue.client.zcard("dtq:{default}:workers") == 0
    for consumer in await bench.queue.client.xinfo_consumers(keys.lane("default", "n"), keys.GROUP):
        assert consumer["name"] != worker.name.encode()


async def test_results_are_in_postgresql_when_the_worker_has_stopped(bench: Bench) -> None:
    worker = await bench.worker(workercount=50)
    ids = [await bench.submit("echo") for _ in range(200)]
    await bench.ended(ids[-1])
    await bench.stop(worker)
    ended = [job_id for job_id in ids if (await bench.view(job_id)).state == "succeeded"]
    assert [job_id for job_id in ended if await bench.store.get(job_id) is None] == []
    assert await bench.queue.outbox_length(["default"]) == 0


async def test_a_handler_that_swallows_the_first_cancellation_is_asked_again(bench: Bench) -> None:
    worker = await bench.worker(shutdownseconds=0.0)
    mark = bench.mark()
    job_id = await bench.submit("stubborn", {"times": 2, "mark": mark}, timeout=100.0)
    await until("the handler runs", lambda: mark.lines)
    await bench.stop(worker)
    assert not worker.stuck
    assert (await bench.view(job_id)).state == "succeeded"


async def test_a_swallowed_cancellation_does_not_hold_up_the_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def queues(self: Queue) -> list[str]:
        asked.set()
        with contextlib.suppress(asyncio.CancelledError):  # as asyncio.wait_for of Python 3.11 does if its call is done in that moment
            await asyncio.sleep(0.5)
        return []

    monkeypatch.setattr(Queue, "queues", queues)
    worker = await bench.worker(queues="*")
    await asked.wait()
    async with asyncio.timeout(20):
        await bench.stop(worker)
