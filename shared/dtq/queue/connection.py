"""The connection to Redis or Valkey: client construction, cluster detection, errors translated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis.asyncio as aredis
from hiredis import pack_command
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dtq.errors import QueueUnavailable

__all__ = ["Client", "call", "connect", "is_cluster", "translated"]

Client = Any
"""redis.asyncio.Redis or redis.asyncio.RedisCluster, answering bytes."""

CONNECT_TIMEOUT = 1.0
"""Seconds to wait for a connection: on one network a server answers in milliseconds or not at all."""

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for an answer. Scripts are bounded to milliseconds; this covers a server busy with a save."""

_AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
    AuthenticationError,
    OSError,
)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's faults into :class:`QueueUnavailable`, with the cause chained."""
    try:
        yield
    except _AWAY as error:
        raise QueueUnavailable(f"Redis does not serve: {_reason(error)}") from error
    except ResponseError as error:
        text = str(error)
        if text.startswith(("OOM", "MISCONF", "NOREPLICAS", "LOADING", "CLUSTERDOWN", "READONLY", "NOAUTH", "BUSY", "MASTERDOWN")):
            raise QueueUnavailable(f"Redis does not serve: {text}") from error
        raise


def _options(blocking: bool, connections: int) -> dict[str, Any]:
    return {
        "decode_responses": False,
        # A command whose answer was lost may have been executed: only the caller knows whether it may be sent again.
        "retry": AsyncRetry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": None if blocking else ANSWER_TIMEOUT,
        "max_connections": connections,
        "protocol": 2,
    }


async def connect(url: str, *, cluster: bool, blocking: bool = False, connections: int = 64) -> Client:
    """A client for ``url``: of one server, which connects when used, or of a ``cluster``.

    ``blocking`` clients wait for ever for an answer, as blocking reads need.

    Raises:
        QueueUnavailable: no node of the cluster answers.
    """
    options = _options(blocking, connections)
    if not cluster:
        return aredis.Redis.from_url(url, **options)
    del options["retry"]
    client = aredis.RedisCluster.from_url(url, **options, retry=AsyncRetry(NoBackoff(), 1))
    with translated():
        await client.initialize()
    return client


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


async def call(client: Client, *args: Any) -> Any:
    """One command, as ``client.execute_command`` would send it, at a third of the cost for commands of many arguments.

    redis-py packs them in Python when used with asyncio; hiredis does it in C. Clusters need redis-py's routing.

    Raises:
        redis.exceptions.RedisError: as the client does.
    """
    if type(client) is not aredis.Redis:
        return await client.execute_command(*args)
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
