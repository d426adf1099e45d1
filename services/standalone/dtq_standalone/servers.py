"""The servers that DTQ needs and that the environment does not name: an embedded Valkey and an embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from dtq.config import Settings
from dtq.embedded import EmbeddedServer, PostgresServer, ValkeyServer
from dtq.embedded.process import PortInUse
from dtq_standalone.console import Say
from dtq_standalone.folder import DataFolder
from dtq_standalone.ports import HOST, Ports

__all__ = ["DATABASE", "Servers"]

DATABASE = "dtq"
START_ATTEMPTS = 5
STOP_SECONDS = 20.0


Server = TypeVar("Server", bound=EmbeddedServer)


class Servers:
    """Addresses of Redis and PostgreSQL, and the ``embedded`` ones among them. ``stack`` stops them, the last one first."""

    def __init__(self, settings: Settings, folder: DataFolder, ports: Ports, stack: ExitStack, say: Say) -> None:
        self.redis = settings.redisaddr
        self.database = settings.databaseurl
        self.embedded: list[EmbeddedServer] = []
        self._given = settings.model_fields_set
        self._folder = folder
        self._ports = ports
        self._stack = stack
        self._say = say

    def start(self) -> None:
        """Start what is not given. Blocks until it answers; call it on the main thread.

        Raises:
            ConfigError: a server cannot start, and why.
        """
        if "redisaddr" not in self._given:
            self.redis = f"{HOST}:{self._start('valkey', ValkeyServer).port}"
        if "databaseurl" not in self._given:
            if not (self._folder.path / "postgres" / "db").exists():
                self._say("making a PostgreSQL database (first start)")
            self.database = self._start("postgres", PostgresServer).url_of(DATABASE)

    def _start(self, name: str, make: Callable[[Path, int], Server]) -> Server:
        """A fixed port, not a free one at each start: one that dies must come back where its clients look for it."""
        for attempt in range(1, START_ATTEMPTS + 1):
            server = make(self._folder.path / name, self._ports.take(name))
            self._stack.callback(server.stop, STOP_SECONDS)
            try:
                server.start()
            except PortInUse:  # taken since we looked
                if attempt == START_ATTEMPTS:
                    raise
            else:
                self.embedded.append(server)
                self._say(f"{server.title} runs at {HOST}:{server.port}")
                return server
        raise AssertionError("unreachable")
