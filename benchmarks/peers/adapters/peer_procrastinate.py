"""Procrastinate: asyncio on PostgreSQL."""

from __future__ import annotations

import asyncio

import procrastinate
import uvloop
from base import CONCURRENCY, PG_DSN, PYTHON, Peer
from probe import NAP, hit

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=PG_DSN, max_size=20))


@app.task(name="noop")
async def noop(i, t):
    hit(i, t)
    if NAP:
        await asyncio.sleep(NAP)


def work():
    async def main():
        async with app.open_async():
            await app.run_worker_async(concurrency=CONCURRENCY or 20)

    uvloop.run(main())


class ProcrastinatePeer(Peer):
    packages = ("procrastinate", "psycopg", "psycopg-pool", "uvloop")
    broker = "postgres"
    delivery = "at most once"
    guarantee = "a started job stays in doing until the user's own code retries stalled jobs; durable commits"
    results = "none (status row kept; delete_jobs=never is the default)"
    worker_note = "concurrency 20, uvloop, LISTEN/NOTIFY"
    bulk_note = "Task.batch_defer_async, 1000 a call"
    n = 3_000

    async def open(self):
        await app.open_async()
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()

    async def prepare(self):
        await app.connector.execute_query_async("TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_workers CASCADE")

    async def loaded(self):
        await app.connector.execute_query_async("ANALYZE procrastinate_jobs")

    async def bulk(self, n):
        for s in range(0, n, 1000):
            await noop.batch_defer_async(*({"i": i, "t": 0.0} for i in range(s, min(n, s + 1000))))

    def one(self, i, t):
        return noop.defer_async(i=i, t=t)

    async def left(self):
        q = "SELECT count(*) AS c FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        return (await app.connector.execute_query_one_async(q))["c"]

    def worker(self, k):
        return [PYTHON, "-c", "import peer_procrastinate; peer_procrastinate.work()"]


PEER = ProcrastinatePeer()
