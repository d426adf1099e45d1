"""Requests share calls, but never each other's fate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dtq.errors import IdempotencyConflict, QueueDamaged, QueueFull, QueueUnavailable
from dtq.job import NewJob, State
from dtq.queue import Submitted
from dtq_submitter import coalesce
from dtq_submitter.coalesce import Coalescer


class FakeQueue:
    """Takes jobs as the queue does: all of a call or none. Payload ``conflict`` is refused; ``room`` is left per queue."""

    def __init__(self, *, cluster: bool = False) -> None:
        self.cluster = cluster
        self.calls: list[list[NewJob]] = []
        self.room: dict[str, int] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None

    async def submit(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        await self.open.wait()
        self.calls.append(list(jobs))
        if self.fault is not None:
            raise self.fault
        for index, job in enumerate(jobs):
            if job.payload == b"conflict":
                raise IdempotencyConflict("used", index)
        for queue in {job.queue for job in jobs}:
            if queue == "damaged":
                raise QueueDamaged(queue, "WRONGTYPE")
            count = sum(job.queue == queue for job in jobs)
            if count > self.room.get(queue, count):
                raise QueueFull(queue)
        for job in jobs:
            if job.queue in self.room:
                self.room[job.queue] -= 1
        return [Submitted(job.payload.decode(), State.QUEUED) for job in jobs]


def job(name: str, queue: str = "default") -> NewJob:
    return NewJob("t", name.encode(), queue)


async def submit_all(coalescer: Coalescer, jobs: list[NewJob]) -> list[Submitted | BaseException]:
    return await asyncio.gather(*(coalescer.submit(one) for one in jobs), return_exceptions=True)


async def test_what_arrives_together_shares_a_call() -> None:
    queue = FakeQueue()
    done = await submit_all(Coalescer(queue), [job(str(number)) for number in range(20)])
    assert [one.id for one in done if isinstance(one, Submitted)] == [str(number) for number in range(20)]
    assert len(queue.calls) == 1


async def test_what_arrives_during_a_call_goes_with_the_next() -> None:
    queue = FakeQueue()
    queue.open.clear()
    coalescer = Coalescer(queue)
    first = asyncio.create_task(coalescer.submit(job("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(coalescer.submit(job(str(number)))) for number in range(5)]
    await asyncio.sleep(0)
    queue.open.set()
    await asyncio.gather(first, *rest)
    assert [len(call) for call in queue.calls] == [1, 5]


async def test_a_conflict_hits_only_its_own_request() -> None:
    done = await submit_all(Coalescer(FakeQueue()), [job("a"), job("conflict"), job("b"), job("conflict"), job("c")])
    assert [type(one).__name__ for one in done] == ["Submitted", "IdempotencyConflict", "Submitted", "IdempotencyConflict", "Submitted"]


async def test_a_full_queue_takes_what_it_can_in_order_and_harms_no_other() -> None:
    queue = FakeQueue()
    queue.room["full"] = 3
    jobs = [job(str(number), "full") for number in range(10)] + [job("x", "other")]
    done = await submit_all(Coalescer(queue), jobs)
    assert [isinstance(one, Submitted) for one in done] == [True] * 3 + [False] * 7 + [True]
    assert all(isinstance(one, QueueFull) for one in done[3:10])


async def test_on_a_cluster_each_call_names_one_queue() -> None:
    queue = FakeQueue(cluster=True)
    await submit_all(Coalescer(queue), [job("1", "a"), job("2", "b"), job("3", "a")])
    assert sorted(sorted({one.queue for one in call}) for call in queue.calls) == [["a"], ["b"]]


async def test_all_learn_that_the_queue_is_away_and_later_ones_go_on() -> None:
    queue = FakeQueue()
    coalescer = Coalescer(queue)
    queue.fault = QueueUnavailable("away")
    done = await submit_all(coalescer, [job("a"), job("b")])
    assert all(isinstance(one, QueueUnavailable) for one in done)
    queue.fault = None
    assert (await coalescer.submit(job("c"))).id == "c"


async def test_a_queue_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "CALL_SECONDS", 0.01)
    queue = FakeQueue()
    queue.open.clear()
    with pytest.raises(QueueUnavailable):
        await Coalescer(queue).submit(job("a"))


async def test_a_caller_that_goes_away_harms_nobody() -> None:
    queue = FakeQueue()
    queue.open.clear()
    coalescer = Coalescer(queue)
    gone, stays = asyncio.create_task(coalescer.submit(job("gone"))), asyncio.create_task(coalescer.submit(job("stays")))
    await asyncio.sleep(0)
    gone.cancel()
    queue.open.set()
    assert (await stays).id == "stays"


async def test_calls_are_bounded_in_bytes() -> None:
    queue = FakeQueue()
    large = "x" * (coalesce.MAX_BYTES // 2 + 1)
    await submit_all(Coalescer(queue), [job(large), job(large), job(large)])
    assert [len(call) for call in queue.calls] == [1, 1, 1]


async def test_a_damaged_queue_refuses_its_own_jobs_only() -> None:
    jobs = [job(str(number), ("a", "damaged", "b")[number % 3]) for number in range(30)]
    done = await submit_all(Coalescer(FakeQueue()), jobs)
    for one, answer in zip(jobs, done, strict=True):
        if one.queue == "damaged":
            assert isinstance(answer, QueueDamaged)
            assert answer.queue == "damaged"
        else:
            assert isinstance(answer, Submitted)
            assert answer.id == one.payload.decode()
