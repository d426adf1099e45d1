"""streaQ: asyncio on Redis streams."""

from __future__ import annotations

import asyncio

from base import CONCURRENCY, PYTHON, REDIS_URL, Peer
from probe import NAP, hit
from streaq import Worker

worker = Worker(redis_url=REDIS_URL, concurrency=CONCURRENCY or 16, anyio_kwargs={"use_uvloop": True})


@worker.task(name="noop", silent=True)
async def noop(i: int, t: float) -> None:
    hit(i, t)
    if NAP:
        await asyncio.sleep(NAP)


class StreaqPeer(Peer):
    packages = ("streaq", "coredis", "uvloop")
    guarantee = "stream, XACK + XDEL after the handler, idle messages reclaimed after 60 s"
    results = "stored for 5 min (default) and published"
    worker_note = "concurrency 16 (default, best of 16, 64, 256), uvloop, silent tasks (no log line a job)"
    bulk_note = "Worker.enqueue_many, 1000 a call"
    n = 10_000
    recovers_after = 60.0

    async def open(self):
        await worker.__aenter__()

    async def bulk(self, n):
        for s in range(0, n, 1000):
            await worker.enqueue_many([noop.enqueue(i, 0.0) for i in range(s, min(n, s + 1000))])

    async def one(self, i, t):
        await noop.enqueue(i, t)

    def left(self):
        return worker.redis.xlen(worker.stream_key + "normal")

    def worker(self, k):
        return [PYTHON, "-c", "import peer_streaq; peer_streaq.worker.run_sync()"]


PEER = StreaqPeer()
