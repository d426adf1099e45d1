"""Composition root of the operator: ``python -m dtq_operator``."""

from __future__ import annotations

import asyncio
import sys

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
from dtq_operator.kube import Api, login
from dtq_operator.lookups import take_failed_lookups
from dtq_operator.metrics import Metrics
from dtq_operator.mirror import Mirror
from dtq_operator.resync import Resync
from dtq_operator.scopes import Scopes
from dtq_operator.sync import Retrier, Syncer
from dtq_operator.watch import first, on_signals, watch

__all__ = ["main", "serve", "served_namespaces"]

CONNECTIONS = 96
"""To Redis: more than all roles use at once."""

logger = structlog.get_logger("dtq.operator")


async def serve(settings: OperatorSettings, types: Registry, namespaces: list[str] | None, stop: asyncio.Event) -> None:
    """Run until ``stop``. ``namespaces``: those to serve, None for all.

    Raises:
        ConfigError: METRICSADDR cannot be listened on.
    """
    queue = await Queue.connect(settings, connections=CONNECTIONS)
    api, metrics = Api(login()), Metrics()
    scopes = Scopes(api, [None] if namespaces is None else namespaces)
    schedules = ScheduleStore(queue.client)
    syncer = Syncer(queue, api, Acceptor(types.types), metrics, settings.clustername, settings.operatorname)
    resync = Resync(api, schedules, syncer, metrics, settings.clustername, scopes, settings.resyncseconds, settings.operatorname)
    definition = Definition(api)
    roles = Roles(
        [
            Role("definition", definition.step),
            Role("resync", resync.step, Backoff(base=1.0, cap=15.0)),
            Role("retrier", Retrier(syncer).step),
            Role("mirror", Mirror(schedules, syncer, settings.clustername).step),
        ]
    )
    ready: dict[str, Check] = {"redis": queue.ping, "kubernetes": scopes.check, "definition": definition.check}
    probe = ProbeServer(settings.metricsaddr, ready, metrics.registry, alive=lambda: queue.problem() or resync.problem())
    try:
        await _listen(probe, settings.metricsaddr)
        roles.start()
        logger.info("operator_started", cluster=settings.clustername, namespaces=namespaces or "*", types=sorted(types.types))
        # The resync goes first: what it has done, the watch need not do once more.
        await first(resync.looked, stop)
        if not stop.is_set():
            await watch(syncer, metrics, scopes, definition, stop)
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


async def _until_signalled(settings: OperatorSettings, types: Registry, namespaces: list[str] | None) -> None:
    stop = asyncio.Event()
    take_failed_lookups(asyncio.get_running_loop())
    on_signals(stop)
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
