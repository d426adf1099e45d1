"""The thread that renews the leases: it survives what goes wrong, and tells when it cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from worker_bench import Bench, until

from dtq.config import Settings
from dtq.errors import QueueUnavailable
from dtq.queue.connection import connect
from dtq_worker import heartbeat
from dtq_worker.heartbeat import Heartbeat

AWAY = "127.0.0.1:1"
"""No Redis: a port that no other test is given either."""

Make = Callable[[str, Callable[[], list[str]]], Heartbeat]


@pytest.fixture
def beating() -> Iterator[Make]:
    """Starts a heartbeat; it is stopped after the test."""
    started: list[Heartbeat] = []

    def make(url: str, queues: Callable[[], list[str]]) -> Heartbeat:
        beat = Heartbeat(Settings(redisaddr=url), "w-1", False, queues, lambda _ids: None, lambda _queue, _at: None)
        beat.start()
        started.append(beat)
        return beat

    yield make
    for beat in started:
        beat.stop()


@pytest.mark.parametrize("error", [RuntimeError("odd"), QueueUnavailable("half a cluster")], ids=["unforeseen", "away"])
async def test_a_failed_start_is_tried_again(beating: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    faults = [error, error]

    async def flaky(*args: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return await connect(*args, **options)

    monkeypatch.setattr(heartbeat, "connect", flaky)
    beat = beating(redis_url, lambda: ["default"])
    await until("it beats", lambda: beat.last_beat)
    assert beat.problem() is None


async def test_an_unforeseen_fault_in_a_beat_is_survived(beating: Make, redis_url: str) -> None:
    faults = [KeyError("odd")]

    def queues() -> list[str]:
        if faults:
            raise faults.pop()
        return ["default"]

    beat = beating(redis_url, queues)
    await until("it beats", lambda: beat.last_beat)


async def test_without_queues_it_asks_redis_all_the_same(beating: Make, redis_url: str) -> None:
    away, there = beating(AWAY, list), beating(redis_url, list)
    await until("one beats", lambda: there.last_beat)
    await until("the other has tried", lambda: away._away)
    assert away.last_beat == 0
    assert away.problem() is None


def test_a_dead_thread_is_a_problem(beating: Make, redis_url: str) -> None:
    beat = beating(redis_url, list)
    beat._thread, thread = threading.Thread(), beat._thread
    assert "died" in (beat.problem() or "")
    beat._thread = thread


def test_a_hung_thread_is_a_problem(beating: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    beat = beating(redis_url, list)
    monkeypatch.setattr(heartbeat, "HUNG", -time.monotonic())
    assert "hung" in (beat.problem() or "")


@pytest.mark.slow
async def test_handlers_that_hold_the_interpreter_one_after_the_other_lose_no_lease(bench: Bench) -> None:
    """Between two of them the thread has one moment: in it, it must renew, on every queue."""
    queues = ["default", *(f"other{number}" for number in range(6))]
    process = await bench.process(queues=",".join(queues), leaseseconds=6.0)
    for queue in queues:
        bench.reclaiming(queue)
    mark = bench.mark()
    beside = [await bench.submit("sleep", {"seconds": 12.0, "mark": mark}, queue=queue, timeout=60.0) for queue in queues[4:]]
    await until("they run", lambda: len(mark.lines) == len(beside))
    await bench.queue.pause("default")
    holding = [await bench.submit("blocks", {"seconds": 1.0}, timeout=60.0) for _ in range(10)]
    await bench.queue.resume("default")
    for job_id in (*holding, *beside):
        job = await bench.ended(job_id, 60)
        assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("succeeded", ["succeeded"])
    assert process.popen.poll() is None


async def test_an_overdue_beat_is_let_through_and_waited_for(beating: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    beat = beating(redis_url, lambda: ["default"])
    await until("it beats", lambda: beat.last_beat)
    monkeypatch.setattr(heartbeat, "BREATH", 10.0)
    monkeypatch.setattr(heartbeat, "OVERDUE", 0.0)
    before = time.monotonic()
    beat.breathe()  # keeps this loop, as a handler would
    assert beat._renewed_at >= before


def test_no_beat_is_waited_for_in_time_or_without_redis(beating: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "OVERDUE", 60.0)
    beat = beating(AWAY, list)
    monkeypatch.setattr(beat, "_beaten", None)  # waiting would fail
    beat.breathe()
    monkeypatch.setattr(heartbeat, "OVERDUE", 0.0)
    beat._away = True
    beat.breathe()


async def test_a_wall_clock_that_is_set_makes_no_worker_unhealthy_nor_hides_one_that_is(
    beating: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, beat = beating(AWAY, list), beating(redis_url, lambda: ["default"])
    real = time.time
    for step in (600.0, -600.0):
        await until("it beats", lambda: beat.last_beat)
        monkeypatch.setattr("dtq_worker.heartbeat.time.time", lambda step=step: real() + step)
        assert beat.silent < 60
    beat.stop()
    before = beat.silent
    await until("it is silent", lambda: beat.silent > before)
    assert away.silent == float("inf")  # it never beat
