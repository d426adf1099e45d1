"""SAQ: asyncio on Redis."""

from __future__ import annotations

import asyncio

import uvloop
from base import BIN, CONCURRENCY, REDIS_URL, Peer, spread
from probe import NAP, hit
from saq import Queue

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
queue = Queue.from_url(REDIS_URL)


async def noop(ctx, *, i, t):
    hit(i, t)
    if NAP:
        await asyncio.sleep(NAP)


settings = {"queue": queue, "functions": [noop], "concurrency": CONCURRENCY or 20}


class SaqPeer(Peer):
    packages = ("saq", "redis", "hiredis", "uvloop")
    guarantee = "retries=2 (the default of 1 aborts a stuck job): moved to an active list, stuck jobs swept every 60 s"
    results = "stored for 10 min (default ttl) and published"
    worker_note = "concurrency 20, uvloop"
    bulk_note = "no bulk API: enqueue from 20 concurrent coroutines (the queue's own op limit)"
    n = 10_000
    recovers_after = 60.0

    async def open(self):
        await queue.connect()

    async def bulk(self, n):
        await spread(lambda i: queue.enqueue("noop", i=i, t=0.0, retries=2), n, 20)

    def one(self, i, t):
        return queue.enqueue("noop", i=i, t=t, retries=2)

    def left(self):
        return queue.count("incomplete")

    def worker(self, k):
        return [f"{BIN}/saq", "peer_saq.settings", "--quiet"]


PEER = SaqPeer()
