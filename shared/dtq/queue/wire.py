"""One connection shared by concurrent calls: what is asked in the same turn of the event loop is sent in one packet.

The server executes such commands in one turn of its own loop, so under appendfsync always a worker's "finish these" and
"claim those" cost one fsync, not two.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis.asyncio as aredis
from hiredis import pack_command
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from dtq.queue.connection import ANSWER_TIMEOUT, Client, call, exchange, replicas_of

__all__ = ["Wire"]


class Wire:
    """Calls through one connection of ``client``; where that cannot be (clusters), through the client itself."""

    def __init__(self, client: Client) -> None:
        """Connects at the first call."""
        self._client = client
        self._direct = isinstance(client, aredis.Redis)
        self.replicas = replicas_of(client)
        self._connection: Any = None
        self._unsent: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def call(self, *args: Any) -> Any:
        """One command and its answer.

        Raises:
            redis.exceptions.RedisError: as the client does; all calls under way share a broken connection's fate.
        """
        if not self._direct:
            return await call(self._client, *args)
        return await self._ask(args)

    async def exchange(self, key: str, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Commands sent one right after the other, and their answers; what the server answers as an error is among them.

        Raises:
            redis.exceptions.RedisError: as the client does; all calls under way share a broken connection's fate.
        """
        if not self._direct:
            return await exchange(self._client, key, commands)
        answers = await asyncio.gather(*[self._ask(command) for command in commands], return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, ResponseError):
                raise answer
        return list(answers)

    def _ask(self, args: tuple[Any, ...]) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unsent.append(pack_command(args))
        self._waiting.append(answer)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._exchange(), name="wire")
        return answer

    async def _exchange(self) -> None:
        """Send what is unsent and read one answer, until nobody waits."""
        try:
            while self._waiting:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await self._step()
        except Exception as error:  # noqa: BLE001 - whatever it is: an answer that may still come must not be taken for another call's
            await self._break(error if isinstance(error, RedisError) else RedisConnectionError(str(error) or "no answer in time"))
        except asyncio.CancelledError:
            await self._break(RedisConnectionError("closed"))
            raise

    async def _step(self) -> None:
        if self._connection is not None and not self._connection.is_connected:
            await self._let_go()
        if self._connection is None:
            self._connection = await self._client.connection_pool.get_connection()
        if self._unsent:
            packet, self._unsent = b"".join(self._unsent), []
            await self._connection.send_packed_command(packet, check_health=False)
        try:
            found = await self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            found = error
        answer = self._waiting.popleft()
        if answer.cancelled():
            return
        if isinstance(found, ResponseError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    async def _let_go(self) -> None:
        """Give back a connection that was closed meanwhile. It would connect anew by itself, but to the same server as before.

        Raises:
            redis.exceptions.ConnectionError: calls are under way on it; an answer on another connection is not theirs.
        """
        if len(self._unsent) < len(self._waiting):
            raise RedisConnectionError("the connection was closed")
        connection, self._connection = self._connection, None
        await self._client.connection_pool.release(connection)

    async def _break(self, error: RedisError) -> None:
        """Fail every call under way; whether the server executed them is not known."""
        connection, self._connection = self._connection, None
        waiting, self._waiting, self._unsent = self._waiting, deque(), []
        for answer in waiting:
            if not answer.done():
                answer.set_exception(error)
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._client.connection_pool.release(connection)

    async def close(self) -> None:
        """Give the connection back; calls under way fail."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._break(RedisConnectionError("closed"))
