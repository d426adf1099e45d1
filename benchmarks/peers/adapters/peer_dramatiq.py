"""Dramatiq on Redis: threads."""

from __future__ import annotations

import time

import dramatiq
import redis
from base import BIN, CONCURRENCY, REDIS_URL, Peer
from dramatiq.brokers.redis import RedisBroker
from probe import NAP, hit

broker = RedisBroker(url=REDIS_URL)
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="noop")
def noop(i, t):
    hit(i, t)
    if NAP:
        time.sleep(NAP)


class DramatiqPeer(Peer):
    packages = ("dramatiq", "redis", "hiredis")
    guarantee = "acked after the handler; a dead worker's messages requeued after a heartbeat timeout of 60 s, by one command in a thousand"
    results = "none (Results middleware is off by default)"
    worker_note = "4 threads, dramatiq_queue_prefetch=500 (defaults, 8 threads and prefetch 16: 2100 jobs/s), default middleware"
    bulk_note = "no bulk API: send() loop"
    n = 30_000
    slots = (50, 200)
    recovers_after = 60.0

    def open(self):
        self.r = redis.Redis.from_url(REDIS_URL)

    def bulk(self, n):
        for i in range(n):
            noop.send(i, 0.0)

    def one(self, i, t):
        noop.send(i, t)

    def left(self):
        return self.r.hlen("dramatiq:default.msgs")

    def worker(self, k):
        return ["env", "dramatiq_queue_prefetch=500", f"{BIN}/dramatiq", "peer_dramatiq", "-p", "1", "-t", str(CONCURRENCY or 4)]


PEER = DramatiqPeer()
