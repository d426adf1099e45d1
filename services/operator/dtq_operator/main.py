"""Composition root of the operator: ``python -m dtq_operator``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from typing import Any, cast

import kopf
import structlog
import uvloop

from dtq import log
from dtq.errors import ConfigError, Unavailable
from dtq.probe import Check, ProbeServer
from dtq.queue import Queue
from dtq.registry import Registry, load_registry
from dtq.retry import Backoff
from dtq.roles import Role, Roles
from dtq.schedule.store import ScheduleStore
from dtq_operator.accept import Acceptor
from dtq_operator.config import OperatorSettings, load_operator_settings
from dtq_operator.definition import Definition
from dtq_operator.handlers import kopf_settings, make_registry
from dtq_operator.kube import Api, login
from dtq_operator.metrics import Metrics
from dtq_operator.mirror import Mirror
from dtq_operator.resync import Resync
from dtq_operator.storage import GenerationStorage
from dtq_operator.sync import Retrier, Syncer

__all__ = ["main", "serve", "served_namespaces"]

CONNECTIONS = 96
"""To Redis: more than all roles use at once."""

STEADY = 60.0
"""A watch that lasted so many seconds was a good one."""

logger = structlog.get_logger("dtq.operator")


async def serve(settings: OperatorSettings, types: Registry, namespaces: list[str] | None, stop: asyncio.Event) -> None:
    """Run until ``stop``. ``namespaces``: those to serve, None for all.

    Raises:
        ConfigError: METRICSADDR cannot be listened on.
    """
    queue = await Queue.connect(settings, connections=CONNECTIONS)
    api, metrics = Api(login()), Metrics()
    scopes: list[str | None] = [None] if namespaces is None else [*namespaces]
    schedules = ScheduleStore(queue.client)
    syncer = Syncer(queue, api, Acceptor(types.types), metrics, settings.clustername)
    resync = Resync(api, schedules, syncer, metrics, settings.clustername, scopes, settings.resyncseconds, settings.operatorname)
    definition = Definition(api)
    roles = Roles(
        [
            Role("definition", definition.step),
            Role("resync", resync.step, Backoff(base=1.0, cap=15.0)),
            Role("retrier", Retrier(syncer).step),
            Role("mirror", Mirror(api, schedules, syncer, settings.clustername).step),
        ]
    )
    ready: dict[str, Check] = {"redis": queue.ping, "kubernetes": lambda: api.ping(scopes[0]), "definition": definition.check}
    probe = ProbeServer(settings.metricsaddr, ready, metrics.registry, alive=lambda: queue.problem() or resync.problem())
    try:
        await _listen(probe, settings.metricsaddr)
        roles.start()
        logger.info("operator_started", cluster=settings.clustername, namespaces=namespaces or "*", types=sorted(types.types))
        # The resync goes first: what it has done, the watch need not do once more.
        if await _first(resync.looked, stop):
            await _watch(syncer, metrics, namespaces, definition, stop)
    finally:
        await roles.stop()
        await probe.close()
        await api.close()
        await queue.close()
        logger.info("operator_stopped")


async def _listen(probe: ProbeServer, addr: str) -> None:
    try:
        await probe.start()
    except OSError as error:
        raise ConfigError(f"METRICSADDR={addr!r}: {error}; choose another address") from error


async def _first(event: asyncio.Event, stop: asyncio.Event) -> bool:
    """Wait for one of two events; whether ``event`` came and ``stop`` did not."""
    waiting = [asyncio.create_task(either.wait()) for either in (event, stop)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return not stop.is_set()


async def _watch(syncer: Syncer, metrics: Metrics, namespaces: list[str] | None, definition: Definition, stop: asyncio.Event) -> None:
    """Keep kopf running until ``stop``. While it cannot, the resync alone notices changes."""
    backoff, failures = Backoff(base=2.0, cap=30.0), 0
    while await _first(definition.there, stop):  # without the definition kopf would watch nothing, for ever
        began = time.monotonic()
        try:
            await _kopf(syncer, metrics, namespaces, stop)
            stop.set()  # kopf ends by itself on a signal only
        except Exception:  # it may be anything: the definition was deleted, rights were withdrawn, ...
            failures = 1 if time.monotonic() - began > STEADY else failures + 1
            logger.exception("watch_failed", failures=failures)
            with contextlib.suppress(Unavailable):
                await definition.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff.delay(failures)):
                    await stop.wait()


async def _kopf(syncer: Syncer, metrics: Metrics, namespaces: list[str] | None, stop: asyncio.Event) -> None:
    storage = GenerationStorage()
    registry = make_registry(syncer, storage, metrics)

    @kopf.on.startup(registry=registry)
    async def take_signals_back(**_: Any) -> None:
        await asyncio.sleep(0.1)  # by then kopf has put its own handlers in their place
        _on_signals(stop)

    try:
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(storage),
            standalone=True,
            identity=cast("Any", f"dtq-operator@{socket.gethostname()}"),  # else kopf looks up the user, which a container need not have
            clusterwide=namespaces is None,
            namespaces=namespaces or (),
            stop_flag=stop,
        )
    finally:
        _on_signals(stop)


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _until_signalled(settings: OperatorSettings, types: Registry, namespaces: list[str] | None) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    await serve(settings, types, namespaces, stop)


def served_namespaces(configured: str, own: str | None) -> list[str] | None:
    """NAMESPACES as a list, None for all. ``own`` is the namespace we run in, if that is known."""
    return None if configured == "*" else configured.split(",") if configured else [own or "default"]


def main() -> int:
    """Entry point; returns the exit code: 2 when a setting is wrong."""
    try:
        settings = load_operator_settings()
        log.configure(settings, "operator")
        types = load_registry(["dtq.jobs", *settings.handler_modules])
        namespaces = served_namespaces(settings.namespaces, login().default_namespace)
        uvloop.run(_until_signalled(settings, types, namespaces))
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"dtq-operator: {line}", file=sys.stderr)  # noqa: T201 - a start that failed is told in plain words
        return 2
    return 0
