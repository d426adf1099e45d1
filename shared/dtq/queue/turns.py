"""Connections are bounded, and who finds none free waits for its turn: a burst of calls is no fault of the server."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import MaxConnectionsError

__all__ = ["TURN_TIMEOUT", "Line", "WaitingPool"]

TURN_TIMEOUT = 10.0
"""Seconds to wait for a connection that others have: twice as long as these wait for their answers, for a burst on a busy machine."""


def _full(places: int) -> MaxConnectionsError:
    return MaxConnectionsError(f"all {places} connections have been in use for {TURN_TIMEOUT:g} s")


class WaitingPool(ConnectionPool):
    """A pool in which callers wait for a connection, the first of them first, where redis-py's raises.

    redis-py's own pool that waits takes a lock and sets a timer for every call. Here only who has to wait does so. Who is
    cancelled while it waits has taken nothing. Its counters of connections are left out: they take longer than all the rest.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._line = asyncio.Lock()  # its holder is the first in the line
        self._released = asyncio.Event()

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A connection that is connected.

        Raises:
            redis.exceptions.MaxConnectionsError: none was free in TURN_TIMEOUT.
        """
        if self.can_get_connection() and not self._line.locked():
            connection: Any = self.get_available_connection()  # type: ignore[no-untyped-call]
        else:
            connection = await self._in_turn()
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def _in_turn(self) -> Any:
        try:
            async with asyncio.timeout(TURN_TIMEOUT), self._line:
                while not self.can_get_connection():
                    self._released.clear()
                    await self._released.wait()
                return self.get_available_connection()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise _full(self.max_connections) from None

    async def release(self, connection: Any) -> None:
        """Give a connection back."""
        try:
            self._in_use_connections.remove(connection)
            if connection.should_reconnect():
                await connection.disconnect()
            self._available_connections.append(connection)
        finally:
            self._released.set()


class Line:
    """``async with`` lets so many in at once; the others wait, the first of them first.

    Raises:
        redis.exceptions.MaxConnectionsError: no place became free in TURN_TIMEOUT.
    """

    def __init__(self, places: int) -> None:
        self._size = places
        self._places = asyncio.Semaphore(places)

    async def __aenter__(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(TURN_TIMEOUT):
                await self._places.acquire()
        except TimeoutError:
            raise _full(self._size) from None

    async def __aexit__(self, *_: object) -> None:
        self._places.release()
