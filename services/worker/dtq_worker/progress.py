"""Progress reports: the latest one of each job, written a few times a second at most."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from dtq.errors import QueueUnavailable
from dtq.queue import keys
from dtq.queue.connection import Client, translated

__all__ = ["Progress", "shown"]

INTERVAL = 0.2
"""Seconds between writes: a person sees no difference, and a handler may report in a tight loop."""

KEEP_MS = 3_600_000
"""A report outlives its job by an hour at most; it is not shown once the job is over."""


def shown(message: str) -> str:
    """The part of a message that is kept; text that JSON cannot hold, as file names may have it, is replaced."""
    return str(message)[:500].encode("utf-8", "replace").decode()


class Progress:
    """Gathers reports and writes them in one round trip."""

    def __init__(self, client: Client, running: Callable[[], Collection[str]]) -> None:
        """Write through ``client``. ``running()``: ids of the jobs that run; nobody is shown a report of another."""
        self._client = client
        self._running = running
        self._latest: dict[tuple[str, str], dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None

    def report(self, queue: str, job_id: str, fraction: float, message: str) -> None:
        """Take a report; ``fraction`` is brought into 0..1."""
        value = min(1.0, max(0.0, float(fraction)))
        self._latest[queue, job_id] = {"fraction": 0.0 if math.isnan(value) else value, "message": shown(message)}
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="progress")

    async def _write(self) -> None:
        while self._latest:
            reports, self._latest = self._latest, {}
            running = self._running()
            pipe = self._client.pipeline(transaction=False)
            for (queue, job_id), report in reports.items():
                if job_id in running:
                    pipe.set(keys.progress(queue, job_id), msgspec.json.encode(report), px=KEEP_MS)
            with contextlib.suppress(QueueUnavailable), translated():  # a lost report is replaced by the next one
                await pipe.execute()
            await asyncio.sleep(INTERVAL)

    async def close(self) -> None:
        """Stop writing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
