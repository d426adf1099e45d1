"""ArdiQ: a queue on Redis with a core in Rust; handlers in Python 3.12."""

from __future__ import annotations

import asyncio

import redis
import uvloop
from ardiq import Ardiq
from base import CONCURRENCY, PYTHON, REDIS_URL, Peer
from probe import NAP, hit

app = Ardiq(REDIS_URL, "bench", concurrency=CONCURRENCY or 256)


@app.task(name="noop")
async def noop(i: int, t: float) -> None:
    hit(i, t)
    if NAP:
        await asyncio.sleep(NAP)


def work():
    uvloop.run(app.run())


class ArdiqPeer(Peer):
    packages = ("ardiq", "uvloop")
    guarantee = "stream, XACK + XDEL after the handler, messages not renewed for 60 s reclaimed"
    results = "stored for 5 min (default) and published"
    worker_note = "concurrency 256 (best of 16, 64, 256, 1000; default 16), prefetch 2 x concurrency (default), uvloop, Python 3.12"
    bulk_note = "Ardiq.enqueue_many, 1000 a call"
    n = 40_000
    recovers_after = 60.0

    def open(self):
        self.r = redis.Redis.from_url(REDIS_URL)

    async def bulk(self, n):
        for s in range(0, n, 1000):
            await app.enqueue_many([noop.prepare(i, 0.0) for i in range(s, min(n, s + 1000))])

    def one(self, i, t):
        return noop.enqueue(i, t)

    def left(self):
        return self.r.xlen("ardiq:bench:queues:default")  # XDEL comes with the acknowledgement

    def worker(self, k):
        return [PYTHON, "-c", "import peer_ardiq; peer_ardiq.work()"]


PEER = ArdiqPeer()
