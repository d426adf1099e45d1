"""RQ on Redis; variant fork: its default worker, which forks for every job."""

from __future__ import annotations

import time

from base import BIN, REDIS_URL, VARIANT, Peer
from probe import NAP, hit
from redis import Redis
from rq import Queue
from rq.registry import StartedJobRegistry


def noop(i, t):
    hit(i, t)
    if NAP:
        time.sleep(NAP)


class RqPeer(Peer):
    packages = ("rq", "redis", "hiredis")
    delivery = "at most once"
    guarantee = "a job whose worker died is failed (by default; Retry runs it again after the clean-up of StartedJobRegistry)"
    results = "stored (Result stream per job, job hash kept 500 s)"
    worker_note = "default Worker: one fork per job" if VARIANT == "fork" else "SimpleWorker (no fork per job), one job at a time"
    bulk_note = "Queue.enqueue_many, 1000 a call"
    n = 500 if VARIANT == "fork" else 4_000
    slots = (1,)

    def open(self):
        self.r = Redis.from_url(REDIS_URL)
        self.q = Queue("bench", connection=self.r)
        self.started = StartedJobRegistry(queue=self.q)

    def bulk(self, n):
        for s in range(0, n, 1000):
            self.q.enqueue_many([Queue.prepare_data("peer_rq.noop", (i, 0.0)) for i in range(s, min(n, s + 1000))])

    def one(self, i, t):
        self.q.enqueue("peer_rq.noop", i, t)

    def left(self):
        return self.r.llen(self.q.key) + self.r.zcard(self.started.key)

    def worker(self, k):
        cls = "rq.Worker" if VARIANT == "fork" else "rq.SimpleWorker"
        return [f"{BIN}/rq", "worker", "-q", "-u", REDIS_URL, "-w", cls, "-P", ".", "bench"]


PEER = RqPeer()
