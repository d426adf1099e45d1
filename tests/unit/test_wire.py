"""Calls that share one connection get their own answers, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio as aredis
from redis.exceptions import ConnectionError as RedisConnectionError

from dtq.errors import QueueUnavailable
from dtq.queue.connection import translated
from dtq.queue.wire import Wire

CLOSED = "unable to perform operation on <TCPTransport closed=True reading=False 0x55f8>; the handler is closed"
"""What uvloop raises, as a RuntimeError, when a connection was reset before it is written to."""


class Echo:
    """A connection that answers each packet with what was sent, and fails when told to."""

    def __init__(self, faults: list[Exception]) -> None:
        self.faults = faults
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.disconnects = 0
        self.is_connected = True
        self.closes = False
        """Whether it is closed from elsewhere with the next answer, while ``meanwhile()`` happens."""
        self.meanwhile: Callable[[], object] = lambda: None

    async def send_packed_command(self, packet: bytes, check_health: bool) -> None:
        if self.faults:
            raise self.faults.pop()
        await self.answers.put(packet)

    async def read_response(self, disconnect_on_error: bool) -> bytes:
        found = await asyncio.wait_for(self.answers.get(), 5)
        self.is_connected = not self.closes
        if self.closes:
            self.meanwhile()
        return found

    async def disconnect(self, nowait: bool = False) -> None:
        self.disconnects += 1


class Pool:
    """Gives out one connection."""

    def __init__(self, connection: Echo) -> None:
        self.connection = connection
        self.given = 0

    async def get_connection(self) -> Echo:
        self.given += 1
        self.connection.is_connected, self.connection.closes = True, False
        return self.connection

    async def release(self, connection: Echo) -> None:
        pass


@pytest.mark.parametrize("fault", [RuntimeError(CLOSED), RedisConnectionError("reset"), OSError("reset"), KeyError("unforeseen")])
async def test_an_answer_is_never_given_to_a_call_whose_connection_broke(fault: Exception) -> None:
    client: Any = aredis.Redis()
    echo = Echo([fault])
    client.connection_pool = Pool(echo)
    wire = Wire(client)
    with pytest.raises(RedisConnectionError):
        await asyncio.wait_for(wire.call("GET", "first"), 5)
    assert b"second" in await asyncio.wait_for(wire.call("GET", "second"), 5)
    assert echo.disconnects == 1


async def test_a_closed_connection_is_given_back_and_another_taken() -> None:
    """By itself it would connect anew to the same server, which may be a primary no more."""
    client: Any = aredis.Redis()
    echo = Echo([])
    client.connection_pool = Pool(echo)
    wire = Wire(client)
    await wire.call("GET", "first")
    echo.is_connected = False
    assert b"second" in await asyncio.wait_for(wire.call("GET", "second"), 5)
    assert client.connection_pool.given == 2


async def test_what_is_under_way_on_a_closed_connection_gets_no_answer_of_another() -> None:
    client: Any = aredis.Redis()
    echo = Echo([])
    client.connection_pool = Pool(echo)
    wire = Wire(client)
    await wire.call("GET", "warm")
    echo.closes = True
    first, second = (asyncio.create_task(wire.call("GET", name)) for name in ("first", "second"))  # one packet, of which one answer comes
    others: list[asyncio.Future[Any]] = []
    echo.meanwhile = lambda: others.append(wire._ask(("GET", "third")))
    await first
    for call in (second, *others):
        with pytest.raises(RedisConnectionError, match="was closed"):
            await asyncio.wait_for(call, 5)


def test_a_connection_that_was_reset_is_a_server_that_is_away() -> None:
    with pytest.raises(QueueUnavailable), translated():
        raise RuntimeError(CLOSED)
    with pytest.raises(RuntimeError, match="something else"), translated():
        raise RuntimeError("something else")
