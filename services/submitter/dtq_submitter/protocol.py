"""Connections: uvicorn's protocol, bounded in what a client may send and in how slowly it may do so.

uvicorn waits for ever for the rest of a request, keeps a head of any size, and holds an answer that nobody reads: some
thousand such clients would use up memory and open files. Here a client has so many seconds for each of its turns: to
send a head, to send a body, to read on. Timers run while it is one of these turns only, so that a request that comes in
one piece, as nearly all do, costs none.
"""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from dtq_submitter.joined import JoinedWrites
from dtq_submitter.problems import MEDIA_TYPE, Problem

__all__ = ["MAX_HEADERS", "MAX_HEAD_BYTES", "MAX_URL_BYTES", "Limits", "bounded"]

MAX_URL_BYTES = 8 * 1024
MAX_HEAD_BYTES = 32 * 1024
"""Request line and headers; a chunk of the socket's size may lie in memory before it is seen that they are larger."""
MAX_HEADERS = 100
MAX_PIPELINED = 32
"""Requests that may wait for the answer before theirs."""
LINGER_SECONDS = 2.0
"""Time to take what a refused client still sends. Closed at once, the connection would be reset, and the answer lost."""
MAX_LINGERING = 64
"""Connections beyond the limit that are told so; more are closed without a word."""
MIN_READ_RATE = 1024
"""Bytes a second that a client must read of its answer, while more wait than the system's buffers hold."""

_TOO_MANY = Problem(503, "too-many-connections", "too many connections are open; try again", headers={"Retry-After": "1"})
_NO_HTTP = Problem(400, "malformed-request", "this is not a request of HTTP/1.1")
_LONG_URL = Problem(414, "url-too-long", f"the URL is longer than {MAX_URL_BYTES} bytes")
_LARGE_HEAD = Problem(431, "head-too-large", f"the request line and headers are larger than {MAX_HEAD_BYTES} bytes")
_MANY_HEADERS = Problem(431, "head-too-large", f"there are more than {MAX_HEADERS} headers")
_LARGE_TRAILER = Problem(431, "head-too-large", f"the body's trailer is larger than {MAX_HEAD_BYTES} bytes, or has too many headers")
_MANY_REQUESTS = Problem(400, "malformed-request", f"more than {MAX_PIPELINED} requests were sent without waiting for an answer")


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds``: what a client has for each of its turns. ``refused`` is told the status of each answer given here."""

    seconds: float
    connections: int
    refused: Callable[[int], None]


def bounded(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol with these limits, as ``uvicorn.Config(http=...)`` takes it."""
    return type("BoundedProtocol", (_Bounded,), {"limits": limits})


class _Refused(Exception):
    """Stops the parser: the request is answered with ``problem``."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class _Bounded(HttpToolsProtocol):
    limits: Limits

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sending: TimerHandle | None = None  # ends the client's turn to send
        self._reading: TimerHandle | None = None  # looks whether it reads
        self._head = True  # what comes next belongs to a request's head
        self._begun = False  # a part of it has come
        self._heads = self._bodies = 0  # complete heads, and pieces of bodies, that have come
        self._extra = 0  # bytes of a head, or of what is neither body nor head
        self._unread = 0  # bytes of answers when last looked at
        self._over = False  # it was refused: what it sends is thrown away
        self._serving: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; it has to send something."""
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(self._joined)
        if len(self.connections) > self.limits.connections:
            self._refuse(_TOO_MANY)
        else:
            self._await(self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone. The request that is served must learn of it too, if others wait behind it."""
        self._stop_sending()
        self._stop_reading()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self.pipeline.clear()
        self._give_up()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._over:
            return
        self._unset_keepalive_if_required()
        head, heads, bodies = self._head, self._heads, self._bodies
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded to, and what follows is not parsed, so the connection ends with the answer.
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.problem if isinstance(cause, _Refused) else _NO_HTTP)
            return
        whole = len(data) if heads == self._heads else 0  # all of it belongs to what goes on
        if not self._head:
            self._body_goes_on(whole if bodies == self._bodies else 0)
        elif self._begun or (head and whole):
            self._head_goes_on(whole if head else 0)

    def _head_goes_on(self, count: int) -> None:
        self._extra += count
        if self._begun and len(self.url) > MAX_URL_BYTES:
            self._refuse(_LONG_URL)
        elif self._extra > MAX_HEAD_BYTES:
            self._refuse(_LARGE_HEAD)
        elif self._sending is None:
            self._await(self._head_is_late)

    def _body_goes_on(self, count: int) -> None:
        self._extra += count
        if self._extra > MAX_HEAD_BYTES or len(self.headers) > 2 * MAX_HEADERS:
            self._refuse(_LARGE_TRAILER)  # its headers are added to the head's
        elif self._sending is None:
            self._await(self._body_is_late)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._begun, self._extra = True, 0

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._stop_sending()
        self._unset_keepalive_if_required()
        self._head, self._begun, self._extra = False, False, 0
        self._heads += 1
        self._check_head()
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            raise _Refused(_MANY_REQUESTS)

    def _check_head(self) -> None:
        if len(self.url) > MAX_URL_BYTES:
            raise _Refused(_LONG_URL)
        if len(self.headers) > MAX_HEADERS:
            raise _Refused(_MANY_HEADERS)
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > MAX_HEAD_BYTES:
            raise _Refused(_LARGE_HEAD)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._bodies += 1
        self._extra = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._stop_sending()
        self._head, self._extra = True, 0
        super().on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():  # it was answered before its body had come
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """An answer is written, though perhaps not yet sent."""
        self._joined.flush()
        super().on_response_complete()
        if self.transport.is_closing() and self._reading is None:
            self._watch_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """It has read."""
        self._stop_reading()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """It has sent nothing for long, and may not even have read the last answer."""
        self.transport.abort()

    def _await(self, late: Callable[[], None]) -> None:
        self._stop_sending()
        self._sending = self.loop.call_later(self.limits.seconds, late)

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _watch_reading(self) -> None:
        self._stop_reading()
        self._unread = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self.limits.seconds, self._check_reading)

    def _check_reading(self) -> None:
        if self.transport.get_write_buffer_size() > self._unread - self.limits.seconds * MIN_READ_RATE:
            self.transport.abort()
        else:
            self._watch_reading()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _head_is_late(self) -> None:
        if self._begun:
            self._late("head")
        else:
            self.transport.abort()  # it asked for nothing, so there is nothing to answer

    def _body_is_late(self) -> None:
        if self.cycle.response_complete:
            self.transport.abort()
        else:
            self._late("body")

    def _late(self, part: str) -> None:
        detail = f"the {part} of the request did not come within {self.limits.seconds:g} s (REQUESTSECONDS)"
        self._refuse(Problem(408, f"{part}-timeout", detail))

    def _refuse(self, problem: Problem) -> None:
        """Answer, if no other answer is due before, and end the connection."""
        self._over = True
        self._stop_sending()
        self.limits.refused(problem.status)
        if not self._may_answer():
            self.transport.abort()
            return
        self._give_up()
        self.transport.write(_answer(problem))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._sending = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _may_answer(self) -> bool:
        if len(self.connections) > self.limits.connections + MAX_LINGERING:
            return False
        serving = self._serving
        return serving is None or serving.response_complete or (serving is self.cycle and not self._head and not serving.response_started)

    def _give_up(self) -> None:
        """Whoever serves a request learns that nobody waits for the answer."""
        if self._serving is not None and not self._serving.response_complete:
            self._serving.disconnected = True
            self._serving.message_event.set()


def _answer(problem: Problem) -> bytes:
    body = problem.body("")
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[problem.status] + lines.encode("latin-1") + b"\r\n" + body
