"""Addresses: the one that users set must be free; those we choose stay the same from start to start."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from pathlib import Path

from dtq.config import parse_addr
from dtq.embedded import free_port
from dtq.errors import ConfigError

__all__ = ["HOST", "Ports", "check_free"]

HOST = "127.0.0.1"


def check_free(variable: str, addr: str) -> None:
    """See whether we may listen at ``addr``, the value of ``variable``.

    Raises:
        ConfigError: somebody else does, or it is no address of ours.
    """
    host, port = parse_addr(addr)
    try:
        _bind(host, port)
    except OSError as error:
        raise ConfigError(f"{variable}={addr}: {_reason(error, variable, host, port)}") from error


class Ports:
    """Ports of 127.0.0.1, one for each name, remembered in a file: bookmarks, dashboards and clients go on working."""

    def __init__(self, path: Path) -> None:
        """``path``: the file; it need not exist."""
        self._path = path
        self._taken: dict[str, int] = {}
        self._remembered: dict[str, object] = {}
        # A damaged file costs nothing but other ports.
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_text())
            self._remembered = found if isinstance(found, dict) else {}

    def take(self, name: str) -> int:
        """The port that ``name`` had the last time, if it is free; else another."""
        port = self._remembered.get(name)
        if not (isinstance(port, int) and 0 < port < 65536 and port not in self._taken.values() and _is_free(port)):
            port = self._fresh()
        self._taken[name] = port
        return port

    def save(self) -> None:
        """Write the file."""
        self._path.write_text(json.dumps(self._remembered | self._taken, indent=2) + "\n")

    def _fresh(self) -> int:
        while (port := free_port()) in self._taken.values():
            pass
        return port


def _is_free(port: int) -> bool:
    try:
        _bind(HOST, port)
    except OSError:
        return False
    return True


def _bind(host: str, port: int) -> None:
    """Listen and stop. SO_REUSEADDR, as servers do, so that connections of an earlier run do not count."""
    family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1)


def _reason(error: OSError, variable: str, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"another program listens there; stop it or choose another port, such as {variable}={host}:{port + 1 if port < 65535 else 8080}"
        )
    if error.errno == errno.EACCES:
        return "this user may not listen there; choose a port above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "this is no address of this machine; use 127.0.0.1 or 0.0.0.0"
    return error.strerror or str(error)
