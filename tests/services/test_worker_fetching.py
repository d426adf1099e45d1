"""Which job a worker takes next, and how soon."""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest
from worker_bench import Bench, Mark, until

from dtq.job import NewJob
from dtq.queue import keys
from dtq.queue.claims import Claims


async def started(mark: Mark, count: int = 1) -> int:
    """When the last of ``count`` attempts started, ms since the epoch."""
    await until(f"{count} attempts have started", lambda: len(mark.lines) >= count)
    return int(mark.lines[count - 1][2])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_an_idle_worker_wakes_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without delay: the median shows that, whatever else this machine was busy with now and then."""
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    await bench.worker()
    mark, waits = bench.mark(), []
    for count in range(1, 11):
        await bench.idle()
        submitted = now_ms()
        await bench.submit("echo", {"mark": mark})
        waits.append(await started(mark, count) - submitted)
    assert statistics.median(waits) < 200, waits


async def test_a_blocking_read_that_broke_is_taken_up_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a proxy closes idle connections; and so it is after the read's own time-out."""
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    await bench.worker()
    await bench.idle()
    for client in await bench.queue.client.client_list():
        if client["cmd"] == "blpop":
            await bench.queue.client.client_kill_filter(_id=client["id"])
    await bench.idle()
    assert (await bench.run("echo")).state == "succeeded"


async def test_a_new_queue_is_noticed(bench: Bench) -> None:
    await bench.worker(queues="*")
    for name in ("one", "two"):
        job = await bench.run("echo", queue=name)
        assert job.state == "succeeded"


async def test_only_named_queues_are_served(bench: Bench) -> None:
    await bench.worker(queues="mine")
    other = await bench.submit("echo", queue="other")
    await bench.run("echo", queue="mine")
    assert (await bench.view(other)).state == "queued"


async def test_named_queues_are_served_in_their_order(bench: Bench) -> None:
    mark = bench.mark()
    for name in ("low", "high", "low", "high"):
        await bench.submit("sleep", {"text": name, "mark": mark, "seconds": 0.01}, queue=name)
    await bench.worker(queues="high,low", workercount=1)
    await started(mark, 4)
    assert mark.texts == ["high", "high", "low", "low"]


async def test_all_queues_take_turns(bench: Bench) -> None:
    """One full queue does not starve the others."""
    mark = bench.mark()
    for name in ("a", "b", "c"):
        for _ in range(3):
            await bench.submit("sleep", {"text": name, "mark": mark, "seconds": 0.01}, queue=name)
    await bench.worker(queues="*", workercount=1)
    await started(mark, 9)
    assert sorted(mark.texts[:3]) == ["a", "b", "c"]


async def test_priorities_are_strict(bench: Bench) -> None:
    mark = bench.mark()
    for priority in ("low", "normal", "high", "low", "high"):
        await bench.submit("sleep", {"text": priority, "mark": mark, "seconds": 0.01}, priority=priority)
    await bench.worker(workercount=1)
    await started(mark, 5)
    assert mark.texts == ["high", "high", "normal", "low", "low"]


async def test_a_paused_queue_is_left_alone_until_it_is_resumed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    await bench.worker(queues="default,other")
    await bench.run("echo")
    await bench.queue.pause("default")
    waiting = await bench.submit("echo")
    for _ in range(3):
        await bench.run("echo", queue="other")
    assert (await bench.view(waiting)).state == "queued"
    await bench.idle()
    await bench.queue.resume("default")
    await bench.ended(waiting)  # woken, not found by the next look around


async def test_a_running_job_goes_on_when_its_queue_is_paused(bench: Bench) -> None:
    await bench.worker()
    gate = bench.gate()
    job_id = await bench.submit("held", {"gate": gate})
    await bench.is_in(job_id, "running")
    await bench.queue.pause("default")
    gate.open()
    assert (await bench.ended(job_id)).state == "succeeded"


@pytest.mark.parametrize("delay_ms", [50, 1500])
async def test_a_delayed_job_starts_on_time_at_an_idle_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch, delay_ms: int) -> None:
    """Without a scheduler: submitting it lets a worker know when it is due. The median shows how well."""
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    await bench.worker()
    mark, late = bench.mark(), []
    for count in range(1, 5):
        await bench.idle()
        submitted = now_ms()
        await bench.submit("echo", {"mark": mark}, delay_ms=delay_ms)
        late.append(await started(mark, count) - submitted - delay_ms)
    assert min(late) >= -2, late
    assert statistics.median(late) < 300, late


async def test_delayed_jobs_start_in_the_order_of_their_times(bench: Bench) -> None:
    await bench.worker(workercount=1)
    mark = bench.mark()
    orders = {delay: json.dumps({"text": str(delay), "mark": str(mark)}).encode() for delay in (600, 200, 400)}
    await bench.queue.submit([NewJob("echo", order, delay_ms=delay) for delay, order in orders.items()])  # in the same moment
    await started(mark, 3)
    assert mark.texts == ["200", "400", "600"]


async def test_a_damaged_queue_does_not_keep_the_others_from_work(bench: Bench) -> None:
    """Somebody wrote over a queue's key."""
    await bench.queue.client.sadd(keys.QUEUES, "broken")
    await bench.queue.client.set(keys.lane("broken", "n"), "oops")
    await bench.worker(queues="broken,default")
    for _ in range(3):
        assert (await bench.run("echo")).state == "succeeded"


async def test_a_damaged_queue_is_left_alone_for_a_while_and_served_once_repaired(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many words come that there may be work in it."""
    monkeypatch.setattr("dtq_worker.fetcher.DAMAGED_PAUSE", 1.0)
    worker = await bench.worker(queues="broken,default")
    await bench.run("echo", queue="broken")
    claims: list[str] = []
    claim = worker._claims.claim

    async def counted(queue: str, count: int, **kwargs: Any) -> Any:
        claims.append(queue)
        return await claim(queue, count, **kwargs)

    monkeypatch.setattr(worker._claims, "claim", counted)
    await bench.queue.client.set(keys.delayed("broken"), "oops")
    began = time.monotonic()
    for number in range(50):
        await bench.queue.client.rpush(keys.wake("broken"), "1")
        await bench.run("echo", {"text": str(number)})
    assert claims.count("broken") <= 1 + (time.monotonic() - began)
    waiting = asyncio.create_task(bench.run("echo", queue="broken"))
    await bench.queue.client.delete(keys.delayed("broken"))
    assert (await waiting).state == "succeeded"


async def test_unforeseen_faults_do_not_end_the_tasks_that_claim(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in the look for lost claims, one in the claim's answer, two in the look for new queues."""
    worker = await bench.worker(queues="*")
    await bench.run("echo")
    faults = {"check": 1, "start": 1, "queues": 2}

    def flaky(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if faults[name]:
                faults[name] -= 1
                raise KeyError(name)
            return real(*args)

        return call

    fetcher = worker._fetcher
    monkeypatch.setattr(fetcher._recovery, "check", flaky("check", fetcher._recovery.check))
    monkeypatch.setattr(fetcher._executor, "start", flaky("start", fetcher._executor.start))
    monkeypatch.setattr(fetcher._queue, "queues", flaky("queues", fetcher._queue.queues))
    job = await bench.run("echo")
    assert (job.state, len(job.attempts)) == ("succeeded", 1)
    assert (await bench.run("echo", queue="new")).state == "succeeded"
    assert set(faults.values()) == {0}


async def test_the_first_sync_job_does_not_hold_up_the_event_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by work, of which the thread's own clock tells, nor by waiting for a process to start."""
    await bench.worker()
    loop, start, turned = asyncio.get_running_loop(), ForkServerProcess.start, []
    longest, done = 0.0, False

    def slow_start(process: ForkServerProcess) -> None:
        turn = threading.Event()
        loop.call_soon_threadsafe(turn.set)
        turned.append(turn.wait(20))  # never, if the loop waits for this
        start(process)

    monkeypatch.setattr(ForkServerProcess, "start", slow_start)

    async def watch() -> None:
        nonlocal longest
        while not done:
            before = time.thread_time()
            await asyncio.sleep(0.005)
            longest = max(longest, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    assert (await bench.run("sync_echo")).state == "succeeded"
    done = True
    await watching
    assert turned == [True]
    assert longest < 0.3


async def test_a_burst_is_shared_by_two_workers(bench: Bench) -> None:
    first, second = await bench.worker(workercount=2), await bench.worker(workercount=2)
    gate = bench.gate()
    ids = [await bench.submit("held", {"gate": gate}) for _ in range(20)]

    async def full() -> bool:
        [stats] = await bench.queue.stats(["default"])
        return (stats.running, stats.ready) == (4, 16)

    await until("both have all that they can run", full)
    gate.open()
    jobs = await asyncio.gather(*(bench.ended(job_id) for job_id in ids))
    assert {job.attempts[0].worker for job in jobs} == {first.name, second.name}


@pytest.mark.parametrize(("queues", "most"), [("*", 5), ("a,b,c,d,e", 1)])
async def test_all_queues_are_claimed_from_at_once_but_named_ones_in_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, queues: str, most: int
) -> None:
    """Claims that go in one packet share a sync of the append-only file: with hundreds of queues it counts."""
    under_way, seen = 0, []
    claim = Claims.claim

    async def counted(self: Claims, *args: Any, **options: Any) -> Any:
        nonlocal under_way
        under_way += 1
        seen.append(under_way)
        try:
            return await claim(self, *args, **options)
        finally:
            under_way -= 1

    monkeypatch.setattr(Claims, "claim", counted)
    jobs = [await bench.submit("echo", queue=name) for name in "abcde"]
    await bench.worker(queues=queues, workercount=5)
    for job in jobs:
        assert (await bench.ended(job)).state == "succeeded"
    assert max(seen) == most


async def test_more_hot_queues_than_slots_are_all_served(bench: Bench) -> None:
    jobs = [await bench.submit("sleep", {"seconds": 0.01}, queue=f"q{n}") for n in range(30)]
    await bench.worker(queues="*", workercount=2)
    for job in jobs:
        assert (await bench.ended(job)).state == "succeeded"
