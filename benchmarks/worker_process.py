"""One worker process for the benchmarks: a no-op async handler, and one that sleeps. For worker_throughput, latency and scale_queues."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import uvloop
from pydantic import BaseModel

from dtq import garbage
from dtq.config import load_settings
from dtq.queue import Queue
from dtq.registry import JobType, handler, load_registry
from dtq.storage import Store
from dtq_worker.worker import Worker


class Noop(BaseModel):
    x: str = ""


class Nap(BaseModel):
    ms: float


NOOP = JobType("noop", Noop)
NAP = JobType("nap", Nap)


@handler(NOOP)
async def noop(payload: Noop, ctx: object) -> None:
    return None


@handler(NAP)
async def nap(payload: Nap, ctx: object) -> None:
    await asyncio.sleep(payload.ms / 1000)


class Stamp(BaseModel):
    sent: float
    """time.monotonic() of the submitting process: one clock for all processes of a machine."""


STAMP = JobType("stamp", Stamp)


@handler(STAMP)
async def stamp(payload: Stamp, ctx: object) -> float:
    return (time.monotonic() - payload.sent) * 1000


async def serve() -> None:
    settings = load_settings()
    queue = await Queue.connect(settings)
    store = Store(settings.databaseurl, trust_seconds=1.0)
    await store.open()
    worker = Worker(settings, load_registry(["worker_process"], entry_points=False), [], queue, store)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await store.ping()
    print("ready", os.getpid(), flush=True)
    sys.stdin.readline()
    garbage.settle()
    worker.start()
    await stop.wait()
    await worker.stop()
    await store.close()
    await queue.close()


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    uvloop.run(serve())
