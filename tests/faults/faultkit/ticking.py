"""Schedules that are due at once: a tick can then be watched at any second, not only when a minute begins.

Each is made as one of a resource that has been there for two minutes, whose line matches the minute that has begun last: its
tick is unmet, so the scheduler starts it now, and never again (not for a year).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from dtq.config import Settings
from dtq.errors import DtqError
from dtq.queue import Queue
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore
from faultkit.beside import beside
from faultkit.stand import Stand

__all__ = ["ticking"]

MINUTE = 60_000


@contextlib.contextmanager
def ticking(stand: Stand, every: float = 1.0, name: str = "due") -> Iterator[list[str]]:
    """Make a schedule every so many seconds until the block is left; gives their names, each once it is known to be stored.

    They are called ``name`` and a number: a name that is used again is a schedule of its own, which may start the same tick.
    """
    made: list[str] = []

    def go(stop: threading.Event) -> None:
        asyncio.run(_make_on(stand.redis_url, name, made, stop, every))

    with beside("no more schedules were made", [go]):
        yield made


async def _make_on(redis_url: str, name: str, made: list[str], stop: threading.Event, every: float) -> None:
    number = 0
    while not stop.is_set():
        try:
            queue = await Queue.connect(Settings(redisaddr=redis_url))
        except DtqError:  # the server is away; it comes back
            await asyncio.sleep(0.2)
            continue
        try:
            while not stop.is_set():
                await _make(ScheduleStore(queue.client), f"{name}-{number}")
                made.append(f"{name}-{number}")
                number += 1
                await asyncio.to_thread(stop.wait, every)
        except DtqError:
            await asyncio.sleep(0.2)  # unanswered: the same once more, which changes nothing if it was stored
        finally:
            await queue.close()


async def _make(store: ScheduleStore, name: str) -> None:
    tick = await store.now() // MINUTE * MINUTE
    at = datetime.fromtimestamp(tick / 1000, UTC)
    template = {"type": "task", "payload": {"tag": name}, "queue": "default"}
    spec = parse_spec({"schedule": f"{at.minute} {at.hour} {at.day} {at.month} *", "timeZone": "Etc/UTC", "jobTemplate": template})
    await store.put(name, spec, created=tick - MINUTE)
