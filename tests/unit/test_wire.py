"""Calls that share one connection get their own answers, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
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

    async def send_packed_command(self, packet: bytes, check_health: bool) -> None:
        if self.faults:
            raise self.faults.pop()
        await self.answers.put(packet)

    async def read_response(self, disconnect_on_error: bool) -> bytes:
        return await asyncio.wait_for(self.answers.get(), 5)

    async def disconnect(self, nowait: bool = False) -> None:
        self.disconnects += 1


class Pool:
    """Gives out one connection."""

    def __init__(self, connection: Echo) -> None:
        self.connection = connection

    async def get_connection(self) -> Echo:
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


def test_a_connection_that_was_reset_is_a_server_that_is_away() -> None:
    with pytest.raises(QueueUnavailable), translated():
        raise RuntimeError(CLOSED)
    with pytest.raises(RuntimeError, match="something else"), translated():
        raise RuntimeError("something else")
