"""Calls from a thread that waits for them: no event loop in between, and no sleep where the answer comes sooner than one ends.

To put a thread to sleep and to wake it up again takes some 30 us, which is as long as a server on the same machine takes for a
call. So the thread looks for the answer for a moment first. It does not if the last answer took longer, as with a server
that syncs each write or is far away, nor where there is but one core, which the server needs.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from hiredis import pack_command
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, ResponseError
from redis.retry import Retry

from dtq.queue.connection import ANSWER_TIMEOUT, CONNECT_TIMEOUT

__all__ = ["Line", "run_through"]

LOOK_NS = 100_000
"""Nanoseconds for which to look for an answer before sleeping."""

T = TypeVar("T")


class Line:
    """Connections to one server, as many as there are threads that call at a time. Safe to share between threads, and by a fork."""

    def __init__(self, url: str) -> None:
        """Connects when called."""
        pool = ConnectionPool.from_url(  # it reads the URL; what it keeps of connections would take longer than a call
            url,
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=ANSWER_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # a command whose answer was lost may have been executed
            protocol=2,
        )
        self._connection: Callable[[], Any] = partial(pool.connection_class, **pool.connection_kwargs)
        self._free: list[_Wire] = []
        self._looks = _cores() > 1
        self._soon = self._looks

    async def call(self, *args: Any) -> Any:
        """One command and its answer. It never suspends: see :func:`run_through`.

        Raises:
            redis.exceptions.RedisError: as redis-py's client does.
        """
        wire = self._take()
        try:
            answer = self._ask(wire, pack_command(args))
        except ReadOnlyError:
            wire.connection.disconnect()  # it has become a replica: a new connection may lead to the primary
            raise
        except ResponseError:
            self._free.append(wire)  # an answer like any other
            raise
        except BaseException:
            wire.connection.disconnect()  # an answer may still come: nobody must read it
            raise
        self._free.append(wire)
        return answer

    def _take(self) -> _Wire:
        pid = os.getpid()
        while self._free:
            try:
                wire = self._free.pop()
            except IndexError:  # another thread was faster
                break
            if wire.pid == pid and not wire.poll(0):
                return wire
            wire.connection.disconnect()  # a parent's, or closed by the server
        return _Wire(self._connection(), pid)

    def _ask(self, wire: _Wire, packet: bytes) -> Any:
        wire.connection.send_packed_command([packet], check_health=False)
        start = time.perf_counter_ns()
        if self._soon:
            poll = wire.poll
            while not poll(0) and time.perf_counter_ns() - start < LOOK_NS:
                pass
        try:
            return wire.connection.read_response()
        finally:
            self._soon = self._looks and time.perf_counter_ns() - start < LOOK_NS

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._free:
            self._free.pop().connection.disconnect()


class _Wire:
    """A connection that is connected, and the look whether something has come."""

    __slots__ = ("connection", "pid", "poll")

    def __init__(self, connection: Any, pid: int) -> None:
        connection.connect()
        self.connection = connection
        self.pid = pid
        looker = select.poll()
        looker.register(connection._sock, select.POLLIN)
        self.poll = looker.poll


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_through(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that suspends nowhere, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("the coroutine waits for something")
