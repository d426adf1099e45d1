"""HTTP by hand, for what no client would send."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """What a server sent until it closed the connection, or until ``want`` answers were there."""

    data: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        """The status of each answer."""
        return [int(part[:3]) for part in self.data.split(b"HTTP/1.1 ")[1:]]

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document that it ends with."""
        head, _, body = self.data.rpartition(b"\r\n\r\n")
        assert b"application/problem+json" in head, self.data[:500]
        found: dict[str, Any] = json.loads(body)
        return found


def send(port: int, data: bytes, want: int = 0, seconds: float = 60) -> Answer:
    """Send bytes, and read until the connection ends, or until as many answers as wanted have come."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        with contextlib.suppress(OSError):  # it closed while we sent: what it said can be read all the same, if the system kept it
            sock.sendall(data)
        return read(sock, want)


def read(sock: socket.socket, want: int = 0) -> Answer:
    """Read until the connection ends, or until as many answers as wanted have come."""
    found = b""
    try:
        while not want or found.count(b"HTTP/1.1 ") < want or not _complete(found):
            part = sock.recv(65536)
            if not part:
                return Answer(found, closed=True)
            found += part
    except TimeoutError:
        raise AssertionError(f"the connection is still open; it gave {found[:500]!r}") from None
    except OSError:
        return Answer(found, closed=True)
    return Answer(found, closed=False)


def _complete(found: bytes) -> bool:
    head, _, body = found[found.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    length = next((line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
    return len(body) >= int(length)
