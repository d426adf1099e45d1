"""taskiq on Redis streams; variant list: on a list, at most once."""

from __future__ import annotations

import asyncio

import redis
from base import BIN, CONCURRENCY, REDIS_URL, VARIANT, Peer, spread
from probe import NAP, hit
from taskiq_redis import ListQueueBroker, RedisStreamBroker

LIST = VARIANT == "list"
broker = ListQueueBroker(REDIS_URL) if LIST else RedisStreamBroker(REDIS_URL)


@broker.task(task_name="noop")
async def noop(i: int, t: float) -> None:
    hit(i, t)
    if NAP:
        await asyncio.sleep(NAP)


class TaskiqPeer(Peer):
    packages = ("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop")
    delivery = "at most once" if LIST else "at least once"
    guarantee = (
        "BRPOP; lost with the worker"
        if LIST
        else "XACK after the handler (when_saved), autoclaim after 10 min; stream never trimmed by default"
    )
    results = "none (no result backend by default)"
    worker_note = "--workers 1, max-async-tasks 100 (default), uvloop"
    bulk_note = "no bulk API: kiq() from 50 concurrent coroutines"
    n = 10_000
    recovers_after = 600.0

    async def open(self):
        self.r = redis.Redis.from_url(REDIS_URL)
        await broker.startup()

    async def prepare(self):
        if not LIST:
            await broker._declare_consumer_group()  # startup() does this; again since the broker was flushed

    async def bulk(self, n):
        await spread(lambda i: noop.kiq(i, 0.0), n, 50)

    def one(self, i, t):
        return noop.kiq(i, t)

    def left(self):
        if LIST:
            return self.r.llen("taskiq")
        g = self.r.xinfo_groups("taskiq")[0]
        return g["pending"] + (g["lag"] or 0)

    def worker(self, k):
        return [f"{BIN}/taskiq", "worker", "peer_taskiq:broker", "--workers", "1", "--log-level", "WARNING",
                "--max-async-tasks", str(CONCURRENCY or 100)]  # fmt: skip


PEER = TaskiqPeer()
