"""Composition root of the operator: ``python -m dtq_operator``."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import kopf
import structlog
import uvloop

from dtq import log
from dtq.errors import ConfigError
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

logger = structlog.get_logger("dtq.operator")


async def serve(settings: OperatorSettings, types: Registry, namespaces: list[str] | None, stop: asyncio.Event) -> None:
    """Run until ``stop``. ``namespaces``: those to serve, None for all.

    Raises:
        ConfigError: METRICSADDR cannot be listened on.
        Exception: kopf has given up; the process is to be started anew.
    """
    queue = await Queue.connect(settings, connections=CONNECTIONS)
    api, metrics, storage = Api(), Metrics(), GenerationStorage()
    scopes: list[str | None] = [None] if namespaces is None else [*namespaces]
    schedules = ScheduleStore(queue.client)
    syncer = Syncer(queue, api, Acceptor(types.types), metrics, settings.clustername)
    resync = Resync(api, schedules, syncer, metrics, settings.clustername, scopes, settings.resyncseconds)
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
    probe = ProbeServer(settings.metricsaddr, ready, metrics.registry, alive=resync.problem)
    try:
        await _listen(probe, settings.metricsaddr)
        roles.start()
        logger.info("operator_started", cluster=settings.clustername, namespaces=namespaces or "*", types=sorted(types.types))
        if await _first(definition.there, stop):
            await _watch(make_registry(syncer, storage, metrics), storage, namespaces, roles, stop)
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


async def _watch(
    registry: kopf.OperatorRegistry, storage: GenerationStorage, namespaces: list[str] | None, roles: Roles, stop: asyncio.Event
) -> None:
    """Run kopf until ``stop``."""
    kopf_stop = asyncio.Event()

    @kopf.on.startup(registry=registry)
    async def take_signals_back(**_: Any) -> None:
        _on_signals(stop)  # kopf has put its own handlers in their place

    watching = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=kopf_settings(storage),
            standalone=True,
            clusterwide=namespaces is None,
            namespaces=namespaces or (),
            stop_flag=kopf_stop,
        ),
        name="kopf",
    )
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    # kopf waits for every task that began after it, so those of the roles end first.
    await roles.stop()
    kopf_stop.set()
    await watching


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
    """Entry point; returns the exit code: 2 when a setting is wrong, 1 when it cannot go on and should be started anew."""
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
    except Exception:  # kopf's or our own; what is running is not worth keeping
        logger.exception("operator_failed")
        return 1
    return 0
