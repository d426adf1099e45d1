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

from dtq.queue.connection import client_options

__all__ = ["BlockingConnections", "NoneFree", "run_through"]

LOOK_NS = 100_000
"""Nanoseconds for which to look for an answer before sleeping."""

CONNECTIONS = 64
"""At most, or fewer if the URL has a lower max_connections. Who finds none free goes by the event loop, where the first is served first."""

T = TypeVar("T")


class NoneFree(Exception):
    """Other threads have all connections."""


class BlockingConnections:
    """Connections to one server, one for each thread that calls at a time. Safe to share between threads, not between processes.

    There is no lock in here: a signal handler, or an object's end, may call while its thread is in the midst of a call.
    """

    def __init__(self, url: str) -> None:
        """Connects when called."""
        pool = ConnectionPool.from_url(  # it reads the URL; what it keeps of connections would take longer than a call
            url,
            **client_options(blocking=False, connections=CONNECTIONS) | {"retry": Retry(NoBackoff(), 0)},  # that one is a coroutine's
        )
        self._new: Callable[[], Any] = partial(pool.connection_class, **pool.connection_kwargs)
        self._places: list[_Connection | None] = [None] * min(CONNECTIONS, pool.max_connections)
        """Those not in use; None where there is no connection yet. From the end, so that few are made."""
        self._looks = _cores() > 1
        self._soon = self._looks

    async def call(self, *args: Any) -> Any:
        """One command and its answer. It never suspends: see :func:`run_through`.

        Raises:
            redis.exceptions.RedisError: as redis-py's client does.
            NoneFree: nothing was sent.
        """
        try:
            connection = self._places.pop()
        except IndexError:
            raise NoneFree from None
        try:
            connection = self._ready(connection)
            answer = self._ask(connection, pack_command(args))
        except ReadOnlyError:
            self._give_up(connection)  # it has become a replica: a new connection may lead to the primary
            raise
        except ResponseError:
            self._places.append(connection)  # an answer like any other
            raise
        except BaseException:
            self._give_up(connection)  # an answer may still come: nobody must read it
            raise
        self._places.append(connection)
        return answer

    def _ready(self, connection: _Connection | None) -> _Connection:
        if connection is not None:
            if not connection.poll(0):
                return connection
            connection.close()  # the server has closed it
        return _Connection(self._new())

    def _give_up(self, connection: _Connection | None) -> None:
        self._places.insert(0, None)
        if connection is not None:
            connection.close()

    def _ask(self, connection: _Connection, packet: bytes) -> Any:
        connection.inner.send_packed_command([packet], check_health=False)
        start = time.perf_counter_ns()
        if self._soon:
            poll = connection.poll
            while not poll(0) and time.perf_counter_ns() - start < LOOK_NS:
                pass
        try:
            return connection.inner.read_response()
        finally:
            self._soon = self._looks and time.perf_counter_ns() - start < LOOK_NS

    def close(self) -> None:
        """Close the connections that are not in use. From now on there are none."""
        while self._places:
            connection = self._places.pop()
            if connection is not None:
                connection.close()


class _Connection:
    """A connection of redis-py's, connected, and the look whether something has come."""

    __slots__ = ("inner", "poll")

    def __init__(self, inner: Any) -> None:
        inner.connect()
        self.inner = inner
        looker = select.poll()
        looker.register(inner._sock, select.POLLIN)
        self.poll = looker.poll

    def close(self) -> None:
        self.inner.disconnect()


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
