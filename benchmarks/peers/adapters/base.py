"""What an adapter has to give: subclass Peer, set the texts, define the methods, and end the file with ``PEER = YourPeer()``.

Everything in this folder runs inside a peer's own environment, so it needs nothing but the standard library. A module is
imported both by the submitting process and by the workers: keep what it does at import small.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
PG_DSN = os.environ.get("BENCH_PG_DSN", "")
VARIANT = os.environ.get("BENCH_VARIANT", "")
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "0"))
"""Slots that the runner asks for; 0: the adapter's own choice."""
PYTHON = sys.executable
BIN = os.path.dirname(sys.executable)


class Peer:
    """One system. Methods may be plain or coroutines, and are called in the submitting process."""

    packages: tuple[str, ...] = ()
    """Distributions whose versions are reported."""
    broker = "redis"
    """Servers it runs on: redis, postgres, redis+postgres."""
    delivery = "at least once"
    """What a user gets in this very setting when a worker is killed: "at least once" or "at most once"."""
    guarantee = ""
    """How that comes about, in a line."""
    results = ""
    """What is stored of a finished job."""
    worker_note = ""
    bulk_note = ""
    n = 20_000
    """Jobs in a throughput run: some seconds of work."""
    slots: tuple[int, ...] = (100, 500)
    """Slots to try for jobs that sleep; the best goes on."""
    samples = 1_000_000
    """The most latencies to take; few for a peer that polls slowly."""
    recovers_after = 0.0
    """Documented seconds after which a killed worker's job is given to another; 0: unknown or short, so it is measured."""

    def open(self) -> Any:
        """Connect."""

    def prepare(self) -> Any:
        """Called on an empty broker: Redis was flushed; one on PostgreSQL empties its tables here."""

    def loaded(self) -> Any:
        """Called after a bulk load, outside of the timing: ANALYZE, as autovacuum would have done on a live table."""

    def bulk(self, n: int) -> Any:
        """Submit the jobs noop(i, 0.0) for i below n in the system's best public way."""

    def one(self, i: int, t: Any) -> Any:
        """Submit the job noop(i, t)."""

    def left(self) -> Any:
        """Jobs that the broker holds: waiting, running or not acknowledged."""

    def rows(self) -> Any:
        """Rows of finished jobs that are in PostgreSQL, for a system that also keeps such; else None."""
        return None

    def worker(self, k: int) -> list[str]:
        """The command of worker process ``k``; it runs in this folder."""
        raise NotImplementedError

    def helpers(self) -> list[list[str]]:
        """Commands of processes that run beside the workers, if the guarantee needs such."""
        return []


async def spread(call: Callable[[int], Awaitable[Any]], n: int, lanes: int) -> None:
    """n awaited calls by so many coroutines: a gather that opens no connection for every job."""
    numbers = iter(range(n))

    async def lane() -> None:
        for i in numbers:
            await call(i)

    await asyncio.gather(*(lane() for _ in range(lanes)))
