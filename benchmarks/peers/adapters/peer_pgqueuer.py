"""PgQueuer: asyncio on PostgreSQL."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import uvloop
from base import CONCURRENCY, PG_DSN, PYTHON, Peer
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.queries import Queries
from probe import NAP, hit


def work():
    async def main():
        async with asyncpg.create_pool(PG_DSN, min_size=2, max_size=8) as pool:
            pgq = PgQueuer.from_asyncpg_pool(pool)

            @pgq.entrypoint("noop")
            async def noop(job) -> None:
                hit(*json.loads(job.payload))
                if NAP:
                    await asyncio.sleep(NAP)

            await pgq.run(batch_size=CONCURRENCY or 500)

    uvloop.run(main())


class PgqueuerPeer(Peer):
    packages = ("pgqueuer", "asyncpg", "uvloop")
    broker = "postgres"
    guarantee = "row picked with a heartbeat, re-picked after 30 s without one; durable commits"
    results = "none (the job moves to the log table)"
    worker_note = "batch_size 500, asyncpg pool, uvloop, LISTEN/NOTIFY"
    bulk_note = "Queries.enqueue with lists, 1000 a call"
    n = 60_000

    async def open(self):
        self.pool = await asyncpg.create_pool(PG_DSN, min_size=2, max_size=8)
        self.q = Queries(AsyncpgPoolDriver(self.pool))
        if not await self.q.has_table("pgqueuer"):
            await self.q.install()

    async def prepare(self):
        await self.pool.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics")

    async def loaded(self):
        await self.pool.execute("ANALYZE pgqueuer")

    async def bulk(self, n):
        for s in range(0, n, 1000):
            r = range(s, min(n, s + 1000))
            await self.q.enqueue(["noop"] * len(r), [b"[%d, 0.0]" % i for i in r], [0] * len(r))

    def one(self, i, t):
        return self.q.enqueue("noop", json.dumps([i, t]).encode())

    def left(self):
        return self.pool.fetchval("SELECT count(*) FROM pgqueuer")

    def worker(self, k):
        return [PYTHON, "-c", "import peer_pgqueuer; peer_pgqueuer.work()"]


PEER = PgqueuerPeer()
