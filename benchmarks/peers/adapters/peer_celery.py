"""Celery on Redis; variant late: acknowledged after the handler (task_acks_late)."""

from __future__ import annotations

import time

import redis
from base import BIN, CONCURRENCY, REDIS_URL, VARIANT, Peer
from celery import Celery
from probe import NAP, hit

app = Celery("peer", broker=REDIS_URL)
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_prefetch_multiplier = 64  # documented tuning for short tasks; the default is 4
if VARIANT == "late":
    app.conf.task_acks_late = True


@app.task(name="noop")
def noop(i, t):
    hit(i, t)
    if NAP:
        time.sleep(NAP)


POOL = ["-P", "threads", "-c", str(CONCURRENCY)] if CONCURRENCY > 1 else ["-P", "solo"]


class CeleryPeer(Peer):
    packages = ("celery", "kombu", "redis", "hiredis")
    delivery = "at least once" if VARIANT == "late" else "at most once"
    guarantee = (
        "task_acks_late: acknowledged after the handler, delivered again after the visibility timeout of 1 h"
        if VARIANT == "late"
        else "a started job is lost (default: acknowledged just before the handler runs); prefetched ones are delivered again"
    )
    results = "none (no result backend by default)"
    worker_note = "-P solo (best of solo, threads 8, prefork 2; threads for jobs that sleep), prefetch 64, no gossip/mingle/heartbeat"
    bulk_note = "no bulk API: apply_async loop on one acquired producer"
    n = 10_000
    slots = (50, 200)
    recovers_after = 3600.0

    def open(self):
        self.r = redis.Redis.from_url(REDIS_URL)

    def bulk(self, n):
        with app.producer_or_acquire() as producer:
            for i in range(n):
                noop.apply_async((i, 0.0), producer=producer)

    def one(self, i, t):
        noop.delay(i, t)

    def left(self):
        return self.r.llen("celery") + self.r.hlen("unacked")

    def worker(self, k):
        return [f"{BIN}/celery", "-A", "peer_celery", "worker", *POOL, "-l", "WARNING", "-n", f"w{k}@%h",
                "--without-gossip", "--without-mingle", "--without-heartbeat"]  # fmt: skip


PEER = CeleryPeer()
