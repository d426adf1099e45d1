"""Huey on Redis: threads."""

from __future__ import annotations

import time

import redis
from base import BIN, CONCURRENCY, REDIS_URL, Peer
from huey import RedisHuey
from probe import NAP, hit

huey = RedisHuey("bench", url=REDIS_URL)


@huey.task(name="noop")
def noop(i, t):
    hit(i, t)
    if NAP:
        time.sleep(NAP)


class HueyPeer(Peer):
    packages = ("huey", "redis", "hiredis")
    delivery = "at most once"
    guarantee = "BRPOP; lost with the worker"
    results = "on by default, but None is not stored (store_none=False), so nothing is written here"
    worker_note = "2 threads (best of 1, 2, 4, 8), -q"
    bulk_note = "no bulk API: enqueue loop"
    n = 30_000
    slots = (50,)  # with more threads than connections in redis-py's pool (100) Huey loses jobs

    def open(self):
        self.r = redis.Redis.from_url(REDIS_URL)

    def bulk(self, n):
        for i in range(n):
            noop(i, 0.0)

    def one(self, i, t):
        noop(i, t)

    def left(self):
        return self.r.llen(huey.storage.queue_key)

    def worker(self, k):
        return [f"{BIN}/huey_consumer", "peer_huey.huey", "-w", str(CONCURRENCY or 2), "-k", "thread", "-q"]


PEER = HueyPeer()
