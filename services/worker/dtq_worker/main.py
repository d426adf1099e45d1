"""Composition root of the worker: ``python -m dtq_worker``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from dtq import garbage, log
from dtq.blobs import BlobStore
from dtq.config import Settings, load_settings
from dtq.errors import ConfigError, StoreUnavailable, Unavailable
from dtq.probe import ProbeServer
from dtq.queue import Queue
from dtq.registry import Registry, load_registry
from dtq.storage import Store
from dtq.storage.metrics import PoolCollector
from dtq_worker.netrules import rules_of
from dtq_worker.slots import LogCapture
from dtq_worker.worker import Worker

__all__ = ["BUILTIN_MODULES", "main"]

BUILTIN_MODULES = ["dtq_worker.handlers.builtin"]


async def serve(settings: Settings, registry: Registry, modules: list[str]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: METRICSADDR cannot be listened on.
    """
    logger = structlog.get_logger("dtq.worker")
    queue = await Queue.connect(settings)
    store = Store(settings.databaseurl, trust_seconds=1.0)
    await store.open()
    worker = Worker(settings, registry, modules, queue, store)
    metrics = CollectorRegistry()
    metrics.register(worker.metrics)
    metrics.register(PoolCollector(store.pool_stats))

    async def ready() -> None:
        """Redis must answer. Without PostgreSQL jobs run on, so it does not make a worker unready."""
        await queue.ping()
        if not worker.healthy:
            raise Unavailable("the leases were not renewed lately")

    probe = ProbeServer(settings.metricsaddr, ready, metrics, alive=worker.problem)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        try:
            await probe.start()
        except OSError as error:
            raise ConfigError(f"METRICSADDR={settings.metricsaddr!r}: {error}; choose another address") from error
        garbage.settle()
        worker.start()
        await stop.wait()
        await worker.stop()
    finally:
        await probe.close()
        try:
            await store.close()
        except StoreUnavailable as error:
            logger.warning("store_not_closed", error=str(error))
        await queue.close()
    if worker.stuck:
        logging.shutdown()
        os._exit(0)  # its job has been given up; waiting for its handler would only end in a SIGKILL


def main() -> int:
    """Entry point; returns the exit code: 2 when a setting is wrong."""
    try:
        settings = load_settings()
        log.configure(settings, "worker")
        modules = [*BUILTIN_MODULES, *settings.handler_modules]
        registry = load_registry(modules)
        registry.check_handlers()
        rules_of(settings)  # a wrong FETCHALLOW or BLOBURL is told now, not by the first job that needs it
        BlobStore.from_url(settings.bloburl)
    except ConfigError as error:
        print(f"dtq-worker: {error}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return 2
    logging.getLogger().addHandler(LogCapture())
    try:
        uvloop.run(serve(settings, registry, modules))
    except ConfigError as error:
        print(f"dtq-worker: {error}", file=sys.stderr)  # noqa: T201 - a line for the person who starts it
        return 2
    return 0
