"""The connection to Redis or Valkey: client construction, cluster detection, packets of commands, errors translated."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import redis.asyncio as aredis
from hiredis import pack_command
from redis.asyncio.cluster import ClusterPipeline
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dtq.errors import QueueDamaged, QueueUnavailable
from dtq.queue.damage import damage_of
from dtq.queue.nodes import own_connections
from dtq.queue.routing import routed
from dtq.queue.sentinels import Sentinels
from dtq.queue.turns import Line, WaitingPool
from dtq.sentinel import SCHEME, parse_sentinel

__all__ = ["Client", "ask_each", "call", "client_options", "connect", "exchange", "is_cluster", "replicas_of", "swap", "translated"]

Client = Any
"""redis.asyncio.Redis or redis.asyncio.RedisCluster, answering bytes."""

CONNECT_TIMEOUT = 1.0
"""Seconds to wait for a connection: on one network a server answers in milliseconds or not at all."""

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for an answer. Scripts are bounded to milliseconds; this covers a server busy with a save."""

SENTINEL_LOOK = 1.0
"""Seconds between questions to the Sentinels who the primary is, besides those for each new connection."""

SENTINEL_TIMEOUT = 0.5
"""Seconds to wait for a Sentinel: it has nothing to do but answer, and there are others to ask."""

AT_ONCE = 32 * 1024
"""Bytes of a command that is left to the event loop to send; for more it is waited, so that memory is bounded."""

_AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,  # no node of a cluster answers, or nobody has the slot: as while a replica takes over
    TryAgainError,
    AuthenticationError,
    OSError,
)


_NOT_SERVING = ("OOM", "MISCONF", "NOREPLICAS", "LOADING", "CLUSTERDOWN", "READONLY", "NOAUTH", "BUSY", "MASTERDOWN", "UNBLOCKED")
"""Words by which a server says so; the last to those whose blocking read waits as a primary becomes a replica."""


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


_IN_PIPELINE = "of pipeline caused error: "
"""What redis-py puts before the server's words, a tuple of them, when a command of a pipeline is refused."""


_CLOSED = "the handler is closed"
"""What uvloop says, in a RuntimeError, to who sends on a connection that was reset since."""


class translated:  # noqa: N801 - used like contextlib's; a generator would cost every call more
    """``with translated(key)``: the driver's faults become :class:`QueueUnavailable`, with the cause chained.

    ``key`` is one of the queue that is asked, if it is one: what is wrong with its keys is a :class:`QueueDamaged` then.
    """

    __slots__ = ("_key",)

    def __init__(self, key: str = "") -> None:
        self._key = key

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and (meaning := _meaning(error, self._key)) is not None:
            raise meaning from error


def _meaning(error: BaseException, key: str) -> QueueUnavailable | QueueDamaged | None:
    """What an error of the driver says of the server, or of the queue of ``key``; None if it is none of these."""
    if isinstance(error, _AWAY):
        return QueueUnavailable(f"Redis does not serve: {_reason(error)}")
    if isinstance(error, ResponseError):
        text = str(error).rpartition(_IN_PIPELINE)[2].lstrip("('\"")
        if text.startswith(_NOT_SERVING):
            return QueueUnavailable(f"Redis does not serve: {text}")
        return damage_of(key, text) if key else None
    if isinstance(error, RuntimeError) and _CLOSED in str(error):
        return QueueUnavailable("Redis does not serve: it has closed the connection")
    return None


async def ask_each(client: Any, keys: Sequence[str], commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The answers to commands that only read, in one round trip: each about the queue of its key, and None if that is damaged.

    Raises:
        QueueUnavailable: the server does not answer.
        redis.exceptions.ResponseError: it refuses one of them for another reason.
    """

    async def ask(raising: bool) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return list(await pipe.execute(raise_on_error=raising))

    with translated():
        try:
            return await ask(True)
        except ResponseError:
            return _readable(keys, await ask(False))


def _readable(keys: Iterable[str], answers: Iterable[Any]) -> list[Any]:
    found = []
    for key, answer in zip(keys, answers, strict=True):
        if not isinstance(answer, Exception):
            found.append(answer)
            continue
        with contextlib.suppress(QueueDamaged), translated(key):
            raise answer
        found.append(None)
    return found


# ---------------------------------------------------------------------- clients


class _Server(aredis.Redis):
    """A client of one server, or of whichever is the primary now. ``replicas`` is WAITREPLICAS."""

    replicas = 0


class _Cluster(aredis.RedisCluster):
    """A client of a cluster, in which calls wait for their turn. ``replicas`` is WAITREPLICAS.

    redis-py's nodes have no pool of their own to wait at. So each way to them has a line: packets by :func:`routed` one for
    each node, so that one which hangs holds up its own callers only; commands and pipelines one each. A node has room for all.
    """

    replicas = 0

    def __init__(self, *, max_connections: int, **kwargs: Any) -> None:
        super().__init__(max_connections=4 * max_connections, **kwargs)
        own_connections(self)
        self._packets: dict[str, Line] = defaultdict(lambda: Line(max_connections))
        self._commands = Line(max_connections)
        self.pipelines = Line(max_connections)

    def turn(self, node: str) -> Line:
        """The line of packets to a node."""
        return self._packets[node]

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        async with self._commands:
            return await super().execute_command(*args, **kwargs)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> _Pipeline:
        return _Pipeline(self, transaction)  # type: ignore[abstract]  # redis-py's own is made the same way


class _Pipeline(ClusterPipeline):
    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        async with self.cluster_client.pipelines:  # type: ignore[attr-defined]
            return await super().execute(*args, **kwargs)


class _Wary(Connection):
    """Lets go of a primary that has become a replica: a new connection may lead to the new one."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not check_health and self.is_connected and isinstance(command, bytes) and len(command) <= AT_ONCE:
            self._writer.write(command)  # type: ignore[union-attr]  # it is connected
            return  # redis-py would start a task to wait until it is sent; whoever reads the answer waits for as much
        await super().send_packed_command(command, check_health)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except ReadOnlyError:
            await self.disconnect(nowait=True)
            raise


class _WarySSL(_Wary, SSLConnection):
    pass


_WARY: dict[type[Any], type[Any]] = {Connection: _Wary, SSLConnection: _WarySSL}


class _SentinelPool(WaitingPool, SentinelConnectionPool):
    """A pool that leaves an old primary soon, and with all its connections; and closes those to the Sentinels with its own.

    redis-py asks the Sentinels when it makes a connection, and lets go of idle ones only. An old primary that lives on would
    serve for ten seconds more, until the Sentinels tell it, and all that was given to it then would be lost.
    """

    _next_look = 0.0
    _look: asyncio.Task[None] | None = None

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + SENTINEL_LOOK
            if self._look is None or self._look.done():
                self._look = asyncio.create_task(self._look_around(), name="sentinel")
        return await super().get_connection(*args, **kwargs)

    async def _look_around(self) -> None:
        with contextlib.suppress(RedisError, OSError):  # whoever needs a new connection meets the fault
            await self.get_master_address()

    async def get_master_address(self) -> Any:
        before = self.master_address
        found = await super().get_master_address()  # type: ignore[no-untyped-call]
        if before not in (None, found):
            await self.disconnect(inuse_connections=True)
        return found

    async def aclose(self) -> None:
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        await super().aclose()
        await self.sentinel_manager.aclose()


def replicas_of(client: Client) -> int:
    """How many replicas must have a write of ``client`` before it counts."""
    return int(getattr(client, "replicas", 0))


def client_options(blocking: bool, connections: int) -> dict[str, Any]:
    """What every client of Redis is made with, besides its URL."""
    return {
        "decode_responses": False,
        # A command whose answer was lost may have been executed: only the caller knows whether it may be sent again.
        "retry": AsyncRetry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": None if blocking else ANSWER_TIMEOUT,
        "max_connections": connections,
        "protocol": 2,
    }


async def connect(url: str, *, cluster: bool, blocking: bool = False, connections: int = 64, replicas: int = 0) -> Client:
    """A client for ``url``: of one server, which connects when used, or of a ``cluster``.

    A sentinel:// URL leads to whichever server is the primary when a connection is made. ``blocking`` clients wait for
    ever for an answer, as blocking reads need. Calls beyond ``connections`` at a time wait for their turn. ``replicas``: how
    many replicas must have what a script has promised.

    Raises:
        QueueUnavailable: no node of the cluster answers.
    """
    options = client_options(blocking, connections)
    if cluster:
        options["retry"] = AsyncRetry(NoBackoff(), 1)  # after it has learned of the nodes anew; scripts go by routed()
        client: Any = _Cluster.from_url(url, **options)
        with translated():
            await client.initialize()
    elif url.startswith(SCHEME):
        client = _by_sentinel(url, options)
    else:
        pool = WaitingPool.from_url(url, **options)
        client = _Server.from_pool(pool)
        pool.connection_class = _WARY.get(pool.connection_class, pool.connection_class)
    client.replicas = replicas
    return client


def _by_sentinel(url: str, options: dict[str, Any]) -> Client:
    address = parse_sentinel(url)
    sentinel = Sentinels(  # type: ignore[no-untyped-call]
        list(address.sentinels),
        sentinel_kwargs={
            "username": address.sentinel_username,
            "password": address.sentinel_password,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            "socket_timeout": SENTINEL_TIMEOUT,
            "retry": AsyncRetry(NoBackoff(), 0),
            "protocol": 2,
        },
    )
    return sentinel.master_for(
        address.service,
        redis_class=_Server,
        connection_pool_class=_SentinelPool,
        db=address.db,
        username=address.username,
        password=address.password,
        **options,
    )


async def is_cluster(client: Client) -> bool:
    """Whether the single server that ``client`` reaches is part of a cluster; False if the user may not ask.

    Raises:
        QueueUnavailable: it does not answer.
    """
    try:
        with translated():
            info = await client.info("cluster")
    except ResponseError:  # a user without the right to ask
        return False
    return bool(info.get("cluster_enabled"))


# ---------------------------------------------------------------------- commands


async def call(client: Client, *args: Any) -> Any:
    """One command, as ``client.execute_command`` would send it, at a third of the cost for commands of many arguments.

    redis-py packs them in Python when used with asyncio; hiredis does it in C. On a cluster, redis-py would also send
    a script again whose answer was lost, which on a single server it does not.

    Raises:
        redis.exceptions.RedisError: as the client does.
    """
    if not isinstance(client, aredis.Redis):
        if args[0] not in ("EVALSHA", "EVAL"):
            return await client.execute_command(*args)
        [answer] = await routed(client, args[3], [args], swap)
        if isinstance(answer, ResponseError):
            raise answer
        return answer
    pool = client.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.send_packed_command(pack_command(args), check_health=False)
        return await connection.read_response()
    except ResponseError:
        raise  # an answer like any other: the connection is in order
    except BaseException:
        await connection.disconnect(nowait=True)  # an answer may still come: nobody else must read it
        raise
    finally:
        await pool.release(connection)


async def exchange(client: Client, key: str, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Several commands in one packet on one connection, on a cluster to the node of ``key``.

    Returns their answers; what the server answers as an error is among them as an exception.

    Raises:
        redis.exceptions.RedisError: the connection broke; the commands may have been executed.
    """
    if not isinstance(client, aredis.Redis):
        return await routed(client, key, commands, swap)
    pool = client.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        return await swap(connection, commands)
    finally:
        await pool.release(connection)


async def swap(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send ``commands`` in one packet and read their answers, errors of the server included."""
    answers: list[Any] = []
    try:
        await connection.send_packed_command(b"".join(map(pack_command, commands)), check_health=False)
        for _ in commands:
            try:
                answers.append(await connection.read_response(disconnect_on_error=False))
            except ResponseError as error:
                answers.append(error)
    except BaseException:
        await connection.disconnect(nowait=True)  # an answer may still come: nobody else must read it
        raise
    return answers
