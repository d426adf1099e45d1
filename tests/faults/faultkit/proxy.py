"""A way to a server that can be made bad: it delays, throttles, cuts, resets, refuses, holds back, or swallows.

A :class:`Link` is one listening port in front of one server, run by an event loop. :class:`Network` has a loop in a thread of
its own, for programs that are not asynchronous. Give each service a link of its own to each server, so that one of them can be
cut off alone.

What a connection has swallowed can never be made good, as TCP would not: so it stays silent for ever, also when the link is
well again, as a connection does whose other end has vanished. Its server is not told that the client has gone either.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

__all__ = ["PASS", "Kind", "Link", "Mode", "Network", "Trap", "open_network"]

T = TypeVar("T")

Kind = Literal["pass", "delay", "throttle", "cut", "cut_mid_reply", "reset", "refuse", "stall", "black_hole", "mute"]

HOST = "127.0.0.1"
CHUNK = 65_536
CUT_SECONDS = 0.3
"""Longest life of a connection through a link that cuts."""
EXECUTION_SECONDS = 5.0
"""Time that a server has to execute what it was sent before its client went away."""
REMEMBERED = 1_048_576
"""Bytes of a request in which a trap's text is looked for."""


@dataclass(frozen=True, slots=True)
class Mode:
    """What a link does to the bytes on it.

    - ``pass``: nothing
    - ``delay``: every packet is late by ``delay_ms``, and up to ``jitter_ms`` more
    - ``throttle``: ``bytes_per_second`` a direction and connection
    - ``cut``: connections are closed, and new ones after a random part of 0.3 s
    - ``cut_mid_reply``: each connection is closed after a random number of up to ``reply_bytes`` bytes of replies
    - ``reset``: the same as cut, by RST, at the first byte sent
    - ``refuse``: connections are closed, new ones refused
    - ``stall``: connections are made, but no byte passes until the mode ends; then all do
    - ``black_hole``: connections are made, and what is sent is swallowed
    - ``mute``: requests reach the server, replies are swallowed
    """

    kind: Kind = "pass"
    delay_ms: float = 30.0
    jitter_ms: float = 60.0
    bytes_per_second: int = 20_000
    reply_bytes: int = 600


PASS = Mode()


@dataclass(slots=True)
class Trap:
    """Loses the reply to a request that holds ``text``: the connection breaks after so many bytes of the reply.

    The server has executed the request by then, and is let to execute what was sent with it. ``sprung`` counts how often
    that happened, up to ``times``.
    """

    text: bytes
    after: int = 0
    times: int = 1
    sprung: int = 0


class Link:
    """One port in front of one server. All methods are to be called in the loop that runs :meth:`open`."""

    def __init__(self, port: int, *, seed: int = 0) -> None:
        """To the server at ``port`` of this machine."""
        self._port = port
        self._choice = random.Random(seed)
        self._reserved: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._moving = asyncio.Event()
        self._moving.set()
        self._traps: list[Trap] = []
        self.mode = PASS
        self.counts: Counter[str] = Counter()
        """How often what was done: connections, delayed, throttled, cut, reset, stalled, swallowed, trapped."""

    async def open(self) -> str:
        """Start; the address."""
        self._reserved = _bound(0)  # keeps the port while nobody listens on it
        await self._listen()
        return self.address

    @property
    def address(self) -> str:
        """host:port, the same as long as the link is open."""
        assert self._reserved is not None
        return f"{HOST}:{self._reserved.getsockname()[1]}"

    async def set_mode(self, mode: Mode) -> None:
        """Do so from now on. Connections that cannot go on under it are closed."""
        self.mode = mode
        if mode.kind in ("cut", "reset", "refuse", "cut_mid_reply"):
            for connection in list(self._connections):
                if not connection.silent:
                    connection.give_up(rst=mode.kind == "reset")
        if mode.kind == "refuse":
            await self._deafen()
        elif self._server is None:
            await self._listen()
        if mode.kind == "stall":
            self._moving.clear()
        else:
            self._moving.set()

    def trap(self, text: bytes, after: int = 0, times: int = 1) -> Trap:
        """Set a trap. A request that waits for its reply already, as a blocking read does, is caught too."""
        trap = Trap(text, after, times)
        self._traps.append(trap)
        for connection in self._connections:
            if connection.trap is None and text in connection.outstanding and connection.outstanding:
                connection.trap = trap
        return trap

    async def close(self) -> None:
        """End all connections and stop."""
        await self._deafen()
        self._moving.set()
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()

    # ------------------------------------------------------------------ listening

    async def _listen(self) -> None:
        assert self._reserved is not None
        self._server = await asyncio.start_server(self._accept, sock=_bound(self._reserved.getsockname()[1]), backlog=512)

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        connection = _Connection(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled by close(): nobody waits for this task
                await connection.run()
        finally:
            del self._connections[connection]
            connection.drop()

    # ------------------------------------------------------------------ for connections

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server."""
        if not self._moving.is_set():
            self.counts["stalled"] += 1
            await self._moving.wait()
        return await asyncio.open_connection(HOST, self._port)

    async def carried(self, size: int) -> None:
        """Wait as long as a packet of this size takes at the moment."""
        if not self._moving.is_set():
            self.counts["stalled"] += 1
            await self._moving.wait()
        if self.mode.kind == "delay":
            self.counts["delayed"] += 1
            await asyncio.sleep((self.mode.delay_ms + self._choice.random() * self.mode.jitter_ms) / 1000)
        elif self.mode.kind == "throttle":
            self.counts["throttled"] += 1
            await asyncio.sleep(size / self.mode.bytes_per_second)

    def lifetime(self) -> float | None:
        """Seconds that a new connection may live; None: for ever."""
        return self._choice.random() * CUT_SECONDS if self.mode.kind == "cut" else None

    def reply_bytes(self) -> int | None:
        """Bytes of replies that a connection may bring; None: any number."""
        return self._choice.randrange(self.mode.reply_bytes) if self.mode.kind == "cut_mid_reply" else None

    def caught(self, request: bytes) -> Trap | None:
        """The trap that a request is in."""
        return next((trap for trap in self._traps if trap.text in request), None)

    def spring(self, trap: Trap) -> bool:
        """Whether the trap still holds; it is then counted."""
        if trap.sprung >= trap.times:
            return False
        trap.sprung += 1
        self.counts["trapped"] += 1
        if trap.sprung == trap.times:
            self._traps.remove(trap)
        return True


class _Connection:
    """One client's connection and ours to the server."""

    def __init__(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._link = link
        self._reader = reader
        self._writer = writer
        self._above: asyncio.StreamWriter | None = None
        self._over = asyncio.Event()
        self._left = link.reply_bytes()
        self._ending = False
        self.deaf = False
        """Requests are swallowed."""
        self.silent = False
        """Replies are swallowed."""
        self.outstanding = b""
        """What was asked since the last reply."""
        self.trap: Trap | None = None

    async def run(self) -> None:
        """Carry bytes both ways until one side ends."""
        if self._link.mode.kind == "black_hole":
            self.deaf = self.silent = True
            await self._swallow()
            return
        source, self._above = await self._link.dial()
        replies = asyncio.create_task(self._replies(source))
        tasks = {asyncio.create_task(self._requests(self._above)), replies, asyncio.create_task(self._over.wait())}
        try:
            async with asyncio.timeout(self._link.lifetime()):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._ending:
                await asyncio.wait({replies}, timeout=EXECUTION_SECONDS)
        except TimeoutError:
            self._link.counts["cut"] += 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def give_up(self, *, rst: bool = False) -> None:
        """Break the connection now."""
        self._link.counts["reset" if rst else "cut"] += 1
        if rst:
            _linger_not(self._writer)
        self._writer.transport.abort()
        self._over.set()

    def drop(self) -> None:
        """Close both ends."""
        for end in (self._writer, self._above):
            if end is not None:
                end.close()

    async def _requests(self, above: asyncio.StreamWriter) -> None:
        while data := await self._reader.read(CHUNK):
            await self._link.carried(len(data))
            if self._link.mode.kind == "black_hole":
                self.deaf = self.silent = True
            if self._link.mode.kind == "reset":
                self.give_up(rst=True)
                return
            if self.deaf:
                self._link.counts["swallowed"] += 1
                continue
            self._remember(data)
            above.write(data)
            await above.drain()
        if self.silent or self._link.mode.kind in ("black_hole", "mute"):
            self._writer.close()
            await asyncio.Event().wait()  # word of the end does not reach the server; the link's end closes it

    async def _replies(self, source: asyncio.StreamReader) -> None:
        while data := await source.read(CHUNK):
            await self._link.carried(len(data))
            if self._link.mode.kind in ("black_hole", "mute"):
                self.silent = True
                self.deaf = self.deaf or self._link.mode.kind == "black_hole"
            if self.silent:
                self._link.counts["swallowed"] += 1
                continue
            if self.trap is not None and self._link.spring(self.trap):
                await self._end_after(data[: self.trap.after], source)
                return
            self.trap, self.outstanding = None, b""
            if self._left is not None and len(data) > self._left:
                self._link.counts["cut"] += 1
                await self._end_after(data[: self._left], source)
                return
            if self._left is not None:
                self._left -= len(data)
            self._writer.write(data)
            await self._writer.drain()

    def _remember(self, data: bytes) -> None:
        self.outstanding = (self.outstanding + data)[-REMEMBERED:]
        if self.trap is None:
            self.trap = self._link.caught(self.outstanding)

    async def _end_after(self, data: bytes, source: asyncio.StreamReader) -> None:
        """Send the beginning of a reply and no more; the server executes all that it was sent."""
        self._ending = True
        if data:
            self._writer.write(data)
            await self._writer.drain()
        self._writer.close()
        assert self._above is not None
        self._above.write_eof()
        while await source.read(CHUNK):
            pass

    async def _swallow(self) -> None:
        while await self._reader.read(CHUNK):
            self._link.counts["swallowed"] += 1


class Network:
    """Links by name, run by a thread. Made by :func:`open_network`."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._links: dict[str, Link] = {}

    def add(self, name: str, port: int) -> str:
        """A new link to the server at ``port``; its address."""

        async def make() -> Link:
            link = Link(port, seed=len(self._links))
            await link.open()
            return link

        self._links[name] = self._do(make)
        return self._links[name].address

    @property
    def names(self) -> list[str]:
        """Of all links."""
        return list(self._links)

    def set_mode(self, name: str, mode: Mode) -> None:
        """See :meth:`Link.set_mode`; it is so when this returns."""
        self._do(lambda: self._links[name].set_mode(mode))

    def trap(self, name: str, text: bytes, after: int = 0, times: int = 1) -> Trap:
        """See :meth:`Link.trap`; it is set when this returns."""

        async def make() -> Trap:
            return self._links[name].trap(text, after, times)

        return self._do(make)

    def counts(self, name: str) -> Counter[str]:
        """What the link has done so far (:attr:`Link.counts`)."""

        async def copied() -> Counter[str]:
            return Counter(self._links[name].counts)

        return self._do(copied)

    def address(self, name: str) -> str:
        """host:port of a link."""
        return self._links[name].address

    def close(self) -> None:
        """Close all links and end the thread."""

        async def end() -> None:
            for link in self._links.values():
                await link.close()

        self._do(end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Callable[[], Awaitable[T]]) -> T:
        async def done() -> T:
            return await what()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(30)


@contextmanager
def open_network() -> Iterator[Network]:
    """A network without links; all are closed at the end."""
    network = Network()
    try:
        yield network
    finally:
        network.close()


def _bound(port: int) -> socket.socket:
    """A socket that has the port, together with others of ours."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    return sock


def _linger_not(writer: asyncio.StreamWriter) -> None:
    """Closing sends RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
