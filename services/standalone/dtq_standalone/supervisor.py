"""Keeps children and embedded servers running, and stops the children in order."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Sequence
from typing import Any

from dtq.embedded import EmbeddedServer
from dtq.errors import ConfigError
from dtq_standalone.child import Child
from dtq_standalone.console import Say
from dtq_standalone.plan import STEADY_SECONDS, restart_delay

__all__ = ["Supervisor"]

CHECK_SECONDS = 0.5
WRONG_SETTING = 2
"""Exit code of a service that refuses its settings: starting it again would not help."""


class Supervisor:
    """``children`` are in the order they stop in. ``fatal`` gets the error that makes it pointless to go on."""

    def __init__(self, children: Sequence[Child], servers: Sequence[EmbeddedServer], say: Say) -> None:
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.steady = False
        """Set when everything was ready once. Before, a child that refuses its settings is fatal."""
        self._children = children
        self._servers = servers
        self._say = say
        self._stopping = False
        self._watchers: dict[Child, asyncio.Task[None]] = {}
        self._guards: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all, those first that stop last."""
        for child in reversed(self._children):
            await child.start()
            self._watchers[child] = asyncio.create_task(self._watch(child), name=f"watch {child.spec.name}")
        self._guards = [asyncio.create_task(self._guard(server), name=f"guard {server.title}") for server in self._servers]

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop the children, equal ones together; kill what does not stop in its time, or at once when told to ``hurry``."""
        self._stopping = True
        for guard in self._guards:
            guard.cancel()
        for _command, group in itertools.groupby(self._children, key=lambda child: child.spec.command):
            await self._stop_group(list(group), hurry)
        if self.fatal.done():
            self.fatal.exception()  # seen: asyncio need not complain
        else:
            self.fatal.cancel()

    async def _stop_group(self, group: list[Child], hurry: asyncio.Event) -> None:
        for child in group:
            child.ask()
            if child.pid is None and child in self._watchers:
                self._watchers[child].cancel()  # it is about to be started again
        watchers = [self._watchers[child] for child in group if child in self._watchers]
        ended: asyncio.Future[Any] = asyncio.gather(*watchers, return_exceptions=True)
        hurried: asyncio.Future[Any] = asyncio.create_task(hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=max(child.spec.grace_s for child in group), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        for child in group:
            if child.pid is not None and not hurry.is_set():
                self._say(f"{child.spec.name} did not stop in {child.spec.grace_s:g} s and is killed")
            child.kill()
        await ended

    async def _watch(self, child: Child) -> None:
        deaths = 0
        while True:
            code = await child.wait()
            if self._stopping:
                return
            if code == WRONG_SETTING and not self.steady:
                self._fail(ConfigError(child.last_line or f"{child.spec.name} refuses its settings; see {child.log.path}"))
                return
            deaths = 0 if child.ran_s >= STEADY_SECONDS else deaths + 1
            delay = restart_delay(child.ran_s, deaths)
            self._say(f"{child.spec.name} {_how(code)}, starts again in {delay:g} s: {child.last_line[:200]} (see {child.log.path})")
            await asyncio.sleep(delay)
            await child.start()

    async def _guard(self, server: EmbeddedServer) -> None:
        deaths = 0
        while True:
            await asyncio.sleep(CHECK_SECONDS if deaths == 0 else restart_delay(0, deaths))
            if server.alive():
                deaths = 0
                continue
            deaths += 1
            self._say(f"{server.title} ended, starts again (see {server.log_path})")
            try:
                server.start()  # on this thread, which is the main one: it ties the server's life to ours
            except ConfigError as error:
                self._say(str(error))

    def _fail(self, error: ConfigError) -> None:
        if not self.fatal.done():
            self.fatal.set_exception(error)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
