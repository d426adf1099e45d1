"""DTQ itself, with its whole guarantee: results are stored, and each finished job gets its row in PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from base import CONCURRENCY, PG_DSN, PYTHON, REDIS_URL, Peer
from probe import NAP, hit
from pydantic import BaseModel

from dtq.client import AsyncQueueClient, Job, QueueClient
from dtq.registry import JobType, handler

SETTINGS = ("env", f"REDISADDR={REDIS_URL}", f"DATABASEURL={PG_DSN}", "LOGLEVEL=WARNING")


class Noop(BaseModel):
    i: int
    t: float


@handler(JobType("noop", Noop))
async def noop(payload: Noop, ctx: object) -> None:
    hit(payload.i, payload.t)
    if NAP:
        await asyncio.sleep(NAP)


class DtqPeer(Peer):
    packages = ("dtq", "redis", "hiredis", "uvloop", "psycopg")
    broker = "redis+postgres"
    guarantee = "lease of the worker renewed, a silent worker's jobs are given to others; ended by a script that checks the claim"
    results = "stored for RESULTTTL, and a row in PostgreSQL for every job"
    worker_note = "WORKERCOUNT 100, python -m dtq_worker; beside it a scheduler, which counts as worker in CPU"
    bulk_note = "QueueClient.submit_many; one by one QueueClient.submit"
    n = 240_000
    slots = (10, 100, 1000)

    def open(self) -> None:
        from dtq.storage.migrate import migrate  # not at the top: a worker imports this file, and needs no SQLAlchemy

        migrate(PG_DSN)
        self.client, self.blocking = AsyncQueueClient(REDIS_URL), QueueClient(REDIS_URL)
        self.database = psycopg.connect(PG_DSN, autocommit=True)

    async def prepare(self) -> None:
        """New clients: they remember which queues there are, and the server has just been emptied."""
        self.database.execute("TRUNCATE dtq.jobs")
        await self.client.close()
        self.blocking.close()
        self.client, self.blocking = AsyncQueueClient(REDIS_URL), QueueClient(REDIS_URL)
        await self.client.queue()
        self.blocking.queue()

    def bulk(self, n: int) -> None:
        self.blocking.submit_many(Job("noop", {"i": i, "t": 0.0}) for i in range(n))

    def one(self, i: int, t: Any) -> Any:
        return self.blocking.submit(Job("noop", {"i": i, "t": t}))

    async def left(self) -> int:
        stats = await self.client.queue()
        return stats.ready + stats.due + stats.delayed + stats.running

    def rows(self) -> int:
        found = self.database.execute("SELECT count(*) FROM dtq.jobs WHERE state = 'succeeded'").fetchone()
        assert found is not None
        return int(found[0])

    def worker(self, k: int) -> list[str]:
        return [*SETTINGS, "HANDLERS=peer_dtq", f"WORKERCOUNT={CONCURRENCY or 100}", PYTHON, "-m", "dtq_worker"]

    def helpers(self) -> list[list[str]]:
        """The scheduler gives the jobs of dead workers to others, and is part of every installation."""
        return [[*SETTINGS, PYTHON, "-m", "dtq_scheduler"]]


PEER = DtqPeer()
