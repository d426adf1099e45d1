"""arq: asyncio on Redis."""

from __future__ import annotations

import asyncio

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from base import CONCURRENCY, PYTHON, REDIS_URL, Peer, spread
from probe import NAP, hit

SETTINGS = RedisSettings.from_dsn(REDIS_URL)


async def noop(ctx, i, t):
    hit(i, t)
    if NAP:
        await asyncio.sleep(NAP)


class WorkerSettings:
    functions = (noop,)
    redis_settings = SETTINGS
    max_jobs = CONCURRENCY or 100
    queue_read_limit = 2000  # default max(5 x max_jobs, 100); it caps the jobs started in each poll of 0.5 s


def work():
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    from arq import run_worker

    run_worker(WorkerSettings)


class ArqPeer(Peer):
    packages = ("arq", "redis", "hiredis", "uvloop")
    guarantee = "removed from the queue after the handler; in-progress key expires after job_timeout + 10 s"
    results = "stored for 1 h (default)"
    worker_note = "max_jobs 100, queue_read_limit 2000, uvloop; default poll_delay 0.5 s"
    bulk_note = "no bulk API: enqueue_job from 50 concurrent coroutines"
    n = 10_000
    recovers_after = 310.0

    async def open(self):
        self.r = await create_pool(SETTINGS)

    async def bulk(self, n):
        await spread(lambda i: self.r.enqueue_job("noop", i, 0.0), n, 50)

    def one(self, i, t):
        return self.r.enqueue_job("noop", i, t)

    def left(self):
        return self.r.zcard("arq:queue")

    def worker(self, k):
        return [PYTHON, "-c", "import peer_arq; peer_arq.work()"]


PEER = ArqPeer()
