"""Composition root of the scheduler: ``python -m dtq_scheduler``."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog
import uvloop

from dtq import log
from dtq.config import Settings, load_settings
from dtq.errors import ConfigError, StoreUnavailable
from dtq.probe import ProbeServer
from dtq.queue import Queue
from dtq.storage import Store
from dtq_scheduler.scheduler import Scheduler

__all__ = ["main", "serve"]

CONNECTIONS = 256
"""More than all roles use at once: beyond it the pool refuses rather than waits."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until ``stop``.

    Raises:
        ConfigError: METRICSADDR cannot be listened on.
    """
    queue = await Queue.connect(settings, connections=CONNECTIONS)
    store = Store(settings.databaseurl)
    await store.open()
    scheduler = Scheduler(settings, queue, store)
    probe = ProbeServer(
        settings.metricsaddr,
        {"redis": queue.ping, "postgresql": store.ping},
        scheduler.registry,
        alive=lambda: queue.problem() or scheduler.problem(),
    )
    try:
        try:
            await probe.start()
        except OSError as error:
            raise ConfigError(f"METRICSADDR={settings.metricsaddr!r}: {error}; choose another address") from error
        scheduler.start()
        await stop.wait()
        await scheduler.stop()
    finally:
        await probe.close()
        try:
            await store.close()
        except StoreUnavailable as error:
            structlog.get_logger("dtq.scheduler").warning("store_not_closed", error=str(error))
        await queue.close()


async def _until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop)


def main() -> int:
    """Entry point; returns the exit code: 2 when a setting is wrong."""
    try:
        settings = load_settings()
    except ConfigError as error:
        print(f"dtq-scheduler: {error}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return 2
    log.configure(settings, "scheduler")
    try:
        uvloop.run(_until_signalled(settings))
    except ConfigError as error:
        print(f"dtq-scheduler: {error}", file=sys.stderr)  # noqa: T201 - a line for the person who starts it
        return 2
    return 0
