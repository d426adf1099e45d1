"""A role: one step done over and over, which outlives faults of the servers and of its own code."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog

from dtq.errors import QueueDamaged, Unavailable
from dtq.retry import Backoff

__all__ = ["Role", "Roles", "each"]

STOP_SECONDS = 5.0
"""Time the steps have to end at a stop. One that is cut off has done nothing that cannot be done again."""

T = TypeVar("T")

log = structlog.get_logger("dtq.roles")


class Role:
    """Does ``step`` for ever; it returns the seconds to wait before the next one."""

    def __init__(self, name: str, step: Callable[[], Awaitable[float]], backoff: Backoff | None = None) -> None:
        """After a fault the wait is by ``backoff``, up to five seconds unless given."""
        self.name = name
        self._step = step
        self._backoff = backoff or Backoff(base=0.1, cap=5.0)
        self._failures = 0
        self.last_end = time.monotonic()
        """When a step ended last, well or not."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``."""
        while not stop.is_set():
            delay = await self._once()
            self.last_end = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await stop.wait()

    async def _once(self) -> float:
        try:
            delay = await self._step()
        except Unavailable as error:
            if self._failures == 0:
                log.warning("server_away", role=self.name, error=str(error))
        except QueueDamaged:
            pass  # it has been told; what belongs to no queue's keys does not come here
        except Exception:  # a fault in one role must not end it, nor the others
            log.exception("role_failed", role=self.name)
        else:
            if self._failures:
                log.info("role_recovered", role=self.name, failures=self._failures)
            self._failures = 0
            return delay
        self._failures += 1
        return self._backoff.delay(self._failures)


class Roles:
    """Starts roles and stops them in time."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self._roles = list(roles)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all."""
        self._tasks = [asyncio.create_task(role.run(self._stop), name=role.name) for role in self._roles]

    async def stop(self) -> None:
        """Let every step end, then cancel what has not ended within five seconds."""
        self._stop.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def each(items: Iterable[T], act: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do ``act`` for every item, so many at once; all are done even if some fail, then the first error is raised.

    That a queue is damaged is none: it has been told, and costs that queue only.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(item: T) -> None:
        async with gate:
            await act(item)

    results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, QueueDamaged):
            raise result
