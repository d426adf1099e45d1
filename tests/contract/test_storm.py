"""Many moves at random by several workers, some of which die: every job ends once, with one row for each end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dtq.job import NewJob, State, TerminalJob
from dtq.queue import LiveFilter, Queue
from dtq.queue.claims import ClaimedJob, Claims, Finish

MakeWorker = Callable[..., Claims]
MakeEnd = Callable[..., Finish]
Until = Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]

HOWS = ["succeeded", "succeeded", "failed", "retry", "hand_back", "cancelled"]


class Storm:
    """The moves. A worker's lease has always run out, so each reclaim finds all of them dead."""

    def __init__(self, queue: Queue, worker: MakeWorker, end: MakeEnd, seed: int) -> None:
        self.queue, self.worker, self.end = queue, worker, end
        self.random = random.Random(seed)
        self.submitted: list[str] = []
        self.held: list[tuple[Claims, ClaimedJob]] = []
        self.workers = 0

    async def submit(self) -> None:
        some = [
            NewJob("noop", b"%d" % n, priority=self.random.choice(["high", "normal", "low"]), delay_ms=self.random.choice([0, 0, 1]))
            for n in range(self.random.randint(1, 8))
        ]
        self.submitted += [done.id for done in await self.queue.submit(some)]

    async def claim(self) -> None:
        self.workers += 1
        claims = self.worker(f"w{self.workers}", -1)
        self.held += [(claims, job) for job in (await claims.claim("default", self.random.randint(1, 6))).jobs]

    async def finish(self) -> None:
        self.random.shuffle(self.held)
        for _ in range(min(4, len(self.held))):
            # Some claims are finished twice, and some after they were taken away: both must be stale.
            claims, job = self.held.pop() if self.random.random() < 0.8 else self.random.choice(self.held)
            await claims.finish("default", [self.end(job, self.random.choice(HOWS), 1)])

    async def cancel(self) -> None:
        if self.submitted:
            await self.queue.cancel(self.random.choice(self.submitted))

    async def reclaim(self) -> None:
        await self.queue.reclaim("default", audit=self.random.random() < 0.3, limit=self.random.randint(1, 20))

    async def promote(self) -> None:
        await self.queue.promote("default")

    async def run(self, moves: int) -> None:
        choices = [self.submit, self.claim, self.claim, self.finish, self.finish, self.cancel, self.reclaim, self.promote]
        for _ in range(moves):
            await self.random.choice(choices)()

    async def settle(self) -> bool:
        """Reclaim what is held and end what is left; True when nothing is live any more."""
        await self.queue.reclaim("default", audit=True)
        claims = self.worker("last")
        jobs = (await claims.claim("default", 1000)).jobs
        await claims.finish("default", [self.end(job, "succeeded") for job in jobs])
        page, _ = await self.queue.list_live(LiveFilter(), None, 10)
        return not page


async def rows(queue: Queue) -> list[TerminalJob]:
    return [row for _, found in await queue.read_outbox("default", limit=10_000) for row in found]


@pytest.mark.parametrize("seed", range(6))
async def test_every_job_ends_once(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until, seed: int) -> None:
    storm = Storm(queue, worker, end, seed)
    await storm.run(150)
    await until(storm.settle, "the last jobs")
    ended = Counter(row.id for row in await rows(queue))
    assert set(ended) == set(storm.submitted)
    assert set(ended.values()) == {1}
    states = {row.id: row.state for row in await rows(queue)}
    for job_id in storm.submitted:
        view = await queue.get(job_id)
        assert view is not None
        assert view.state is states[job_id]
    [stats] = await queue.stats(["default"])
    assert (stats.ready, stats.due, stats.delayed, stats.running) == (0, 0, 0, 0)
    assert stats.dead == sum(state is State.FAILED for state in states.values())
