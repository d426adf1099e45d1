"""A small HTTP server for /metrics, /livez and /readyz, in plain asyncio: worker and scheduler need no web framework.

It answers GET and HEAD, one request a connection, and bounds what a client can make it hold and for how long.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from dtq.config import parse_addr

__all__ = ["Check", "Checks", "ProbeServer", "check_all"]

REQUEST_SECONDS = 5.0
"""Time a client has for sending its request and taking the answer."""

CHECK_SECONDS = 2.0
"""Time one readiness check has: less than a kubelet waits, if it is told timeoutSeconds: 3."""

MAX_REQUEST = 16 * 1024

Check = Callable[[], Awaitable[object]]
"""A call that raises when something is not there."""

Checks = Mapping[str, Check]
"""What must be there to be ready: a name such as ``redis``, and its check."""

Alive = Callable[[], str | None]
"""Returns None, or why the process should be restarted."""

log = structlog.get_logger("dtq.probe")

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


async def check_all(checks: Checks, seconds: float = CHECK_SECONDS) -> dict[str, str]:
    """Run all checks at once; the names of those that failed or took too long, and why."""

    async def failure(check: Check) -> str | None:
        try:
            async with asyncio.timeout(seconds):
                await check()
        except TimeoutError:
            return f"no answer within {seconds:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why the service is not ready
            return str(error) or type(error).__name__
        return None

    found = await asyncio.gather(*(failure(check) for check in checks.values()))
    return {name: problem for name, problem in zip(checks, found, strict=True) if problem is not None}


class ProbeServer:
    """Serves the probes and metrics of one process.

    /livez is 200 while the event loop runs and ``alive`` (if given) says so; /readyz is 200 when all ``ready`` checks
    pass, else 503; both answer JSON, and /readyz names what is not ready.
    """

    def __init__(self, addr: str, ready: Checks | Check, registry: CollectorRegistry, *, alive: Alive | None = None) -> None:
        """``addr``: host:port, port 0 for a free one. ``ready``: checks by name, or a single one."""
        self._host, self._port = parse_addr(addr)
        self._ready: Checks = ready if isinstance(ready, Mapping) else {"service": ready}
        self._registry = registry
        self._alive = alive
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is in use or not this machine's.
        """
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=MAX_REQUEST)
        log.info("probes_listening", host=self._host, port=self.port)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, status, kind, body = await self._answer(head)
                writer.write(_response(status, kind, body, head_only=method == "HEAD"))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _answer(self, head: bytes) -> tuple[str, int, str, bytes]:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3:
            return "GET", 400, _TEXT, b"bad request\n"
        method, path = words[0], words[1].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return method, 405, _TEXT, b"only GET and HEAD\n"
        return (method, *await self._page(path))

    async def _page(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            # On the event loop, not in a thread: collectors read what the loop's tasks change.
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/livez":
            problem = self._alive() if self._alive else None
            return (200, _JSON, b'{"status":"alive"}\n') if problem is None else _not_ok("dead", {"process": problem})
        if path == "/readyz":
            failures = await check_all(self._ready)
            return (200, _JSON, b'{"status":"ready"}\n') if not failures else _not_ok("not ready", failures)
        return 404, _TEXT, b"there are /metrics, /livez and /readyz\n"


def _not_ok(status: str, failures: dict[str, str]) -> tuple[int, str, bytes]:
    return 503, _JSON, msgspec.json.encode({"status": status, "failures": failures}) + b"\n"


def _response(status: int, kind: str, body: bytes, *, head_only: bool) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head_only else body)
