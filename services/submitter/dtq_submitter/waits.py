"""Long polls: any number of callers wait for their jobs' ends by one look at Redis at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

import structlog

from dtq.errors import Unavailable

__all__ = ["FinishedQueue", "TooManyWaits", "Waits"]

LOOK_SECONDS = 0.025
"""Time between two looks."""
MAX_WAITS = 1000
"""Callers that may wait at once: each holds a connection."""

_log = structlog.get_logger("dtq.submitter")


class TooManyWaits(Exception):
    """MAX_WAITS callers wait already."""


class FinishedQueue(Protocol):
    """What waiting needs of :class:`dtq.queue.Queue`."""

    async def finished(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the jobs that are terminal."""
        ...


class Waits:
    """All waiting callers. ``release`` lets them go, at shutdown."""

    def __init__(self, queue: FinishedQueue, limit: int = MAX_WAITS) -> None:
        self._queue = queue
        self._limit = limit
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._task: asyncio.Task[None] | None = None
        self._released = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, job_id: str, seconds: float) -> None:
        """Return when the job is terminal, when time is up, or when all are let go.

        Raises:
            TooManyWaits: try again a little later.
        """
        if self._released or seconds <= 0:
            return
        if len(self._waiting) >= self._limit:
            raise TooManyWaits
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = job_id
        if self._task is None:
            self._task = asyncio.create_task(self._look(), name="waits")
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return
        finally:
            del self._waiting[future]

    def release(self) -> None:
        """Let every caller go, now and from now on."""
        self._released = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def _look(self) -> None:
        try:
            while self._waiting:
                await self._look_once()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._task = None

    async def _look_once(self) -> None:
        try:
            done = await self._queue.finished(set(self._waiting.values()))
        except Unavailable as error:
            _log.warning("waits_unavailable", error=str(error))
            await asyncio.sleep(0.5)
            return
        for future, job_id in self._waiting.items():
            if job_id in done and not future.done():
                future.set_result(None)
