"""Keeps kopf running, on the namespaces that can be watched: one that is refused would end it for all."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

import kopf
import structlog

from dtq.errors import Unavailable
from dtq.retry import Backoff
from dtq_operator.definition import Definition
from dtq_operator.handlers import kopf_settings, make_registry
from dtq_operator.metrics import Metrics
from dtq_operator.scopes import Scope, Scopes
from dtq_operator.storage import GenerationStorage
from dtq_operator.sync import Syncer

__all__ = ["first", "on_signals", "watch"]

STEADY = 60.0
"""A watch that lasted so many seconds was a good one."""

ENDS = 10.0
"""Seconds that kopf gets to end, five of which it gives its own tasks. Else it would wait for ever for one that has swallowed
its cancellation, which happens to a request that is cancelled just when its connection breaks."""

KOPF = str(Path(kopf.__file__).parent)

log = structlog.get_logger("dtq.operator")


async def first(*events: asyncio.Event) -> None:
    """Wait for one of these."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def watch(syncer: Syncer, metrics: Metrics, scopes: Scopes, definition: Definition, stop: asyncio.Event) -> None:
    """Keep kopf running until ``stop``. While it cannot, the resync alone notices changes."""
    backoff, failures = Backoff(base=2.0, cap=30.0), 0
    while True:
        await first(definition.there, stop)  # without the definition kopf would watch nothing, for ever
        if stop.is_set():
            return
        scopes.changed.clear()
        if not scopes.open:
            await first(scopes.changed, stop)
            continue
        began = time.monotonic()
        try:
            await _until(scopes.changed, stop, syncer, metrics, scopes.open)
            if not scopes.changed.is_set():
                stop.set()  # kopf ends by itself on a signal only
        except Exception:  # it may be anything: the definition was deleted, rights were withdrawn, ...
            failures = 1 if time.monotonic() - began > STEADY else failures + 1
            log.exception("watch_failed", failures=failures)
            with contextlib.suppress(Unavailable):
                await definition.step()
                await scopes.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff.delay(failures)):
                    await first(scopes.changed, stop)


async def _until(changed: asyncio.Event, stop: asyncio.Event, syncer: Syncer, metrics: Metrics, scopes: list[Scope]) -> None:
    """Run kopf on these until one of the two events."""
    halt = asyncio.Event()

    async def tell() -> None:
        await first(changed, stop)
        halt.set()

    telling = asyncio.create_task(tell())
    try:
        await _kopf(syncer, metrics, [scope for scope in scopes if scope is not None], halt, stop)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def is_of_kopf(task: object) -> bool:
    """Whether it is a task that runs a coroutine of kopf's."""
    code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
    return code is not None and str(code.co_filename).startswith(KOPF)


class OthersTasks(Collection["asyncio.Task[Any]"]):
    """All tasks that are not kopf's own: at its end it cancels every task that is younger than itself, our roles' too."""

    def __contains__(self, task: object) -> bool:
        """Whether kopf is to leave it alone."""
        return not is_of_kopf(task)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        """Those there are."""
        return (task for task in asyncio.all_tasks() if task in self)

    def __len__(self) -> int:
        """How many there are."""
        return sum(1 for _ in self)


async def _kopf(syncer: Syncer, metrics: Metrics, namespaces: list[str], halt: asyncio.Event, stop: asyncio.Event) -> None:
    """Run kopf until ``halt`` on these namespaces, on all if there are none. Signals set ``stop``."""
    storage = GenerationStorage()
    registry = make_registry(syncer, storage, metrics)

    @kopf.on.startup(registry=registry)
    async def take_signals_back(**_: Any) -> None:
        await asyncio.sleep(0.1)  # by then kopf has put its own handlers in their place
        on_signals(stop)

    try:
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=kopf_settings(storage),
            standalone=True,
            identity=cast("Any", f"dtq-operator@{socket.gethostname()}"),  # else kopf looks up the user, which a container need not have
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=halt,
        )
        await _run(tasks)
    finally:
        on_signals(stop)


async def _run(tasks: Collection[asyncio.Task[None]]) -> None:
    """Run kopf's tasks until one ends, and then give up what does not end in time."""
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=OthersTasks()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({running}, timeout=ENDS)
        if running.done():
            await running
            return
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
    finally:
        if not running.done():
            running.cancel()
            for task in filter(is_of_kopf, asyncio.all_tasks() - {running}):
                task.cancel()  # once more
            await asyncio.wait({running}, timeout=ENDS)


def on_signals(stop: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT set ``stop``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
