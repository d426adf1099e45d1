"""Connections to PostgreSQL: opened on first use, quick to say that the server is away, back by themselves when it is."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from dtq.errors import StoreUnavailable
from dtq.storage.rows import Utf8, Utf8Dumper

__all__ = ["DATA_FAULTS", "Connection", "Pool", "PoolStats"]


class Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection that knows when it was last of use."""

    used_at = -math.inf
    """Monotonic time."""


DATA_FAULTS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)
"""What PostgreSQL raises because of the values it was given: trying again cannot help."""

_GONE = ("08", "57")
"""Classes of SQLSTATE that tell of a broken connection, and of a server that stops or starts."""
_NO_SCHEMA = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedColumn)

WAIT_SECONDS = 2.5
"""How long a call waits for a connection."""
CALL_SECONDS = 60.0
"""How long a call may take; beyond that the server is taken for hung."""
MAX_CONNECTIONS = 4

_CONNECT = {
    "autocommit": True,
    "connect_timeout": 2,
    "client_encoding": "utf8",
    "application_name": "dtq",
    # A server that vanished without a word (power, network) is noticed while a call waits for it.
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Connections of a pool that are ``idle`` and ``busy`` (also those being made), out of ``limit``.

    ``waiting`` calls want one; ``refused`` counts those that got none in time.
    """

    idle: int
    busy: int
    limit: int
    waiting: int
    refused: int


class Pool:
    """A pool whose faults are :class:`StoreUnavailable`, except those in ``DATA_FAULTS``."""

    def __init__(self, dsn: str, trust_seconds: float = 0.0) -> None:
        """A connection that was of use ``trust_seconds`` ago or less is not asked first whether it still is.

        That saves a round trip, and is for callers that try again: a call may meet a connection which broke just before.
        """
        self._trust_seconds = trust_seconds
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            connection_class=Connection,
            kwargs=_CONNECT,
            min_size=0,  # else the pool would try in the background and wait longer after each failure
            max_size=MAX_CONNECTIONS,
            open=False,
            timeout=WAIT_SECONDS,
            reconnect_timeout=1.0,
            check=self._check,
            configure=_configure,
            name="dtq-store",
        )

    async def _check(self, connection: Connection) -> None:
        """Raise if the connection is of no use any more."""
        if time.monotonic() - connection.used_at >= self._trust_seconds:
            await AsyncConnectionPool.check_connection(connection)

    async def open(self) -> None:
        """Start the pool; does not connect yet."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    def stats(self) -> PoolStats:
        """How it stands; asks nobody."""
        found = self._pool.get_stats()
        idle = found["pool_available"]
        return PoolStats(
            idle=idle,
            busy=max(0, found["pool_size"] - idle),
            limit=found["pool_max"],
            waiting=found.get("requests_waiting", 0),
            refused=found.get("requests_errors", 0),
        )

    @asynccontextmanager
    async def connection(self, seconds: float | None = CALL_SECONDS) -> AsyncIterator[Connection]:
        """A connection in autocommit mode, for at most ``seconds``.

        Raises:
            StoreUnavailable: there is none within 2.5 s, or it broke, or time is up; or the server refuses, and says why.
        """
        try:
            async with asyncio.timeout(seconds), self._pool.connection() as connection, _left_if_read_only(connection):
                yield connection
                connection.used_at = time.monotonic()
        except DATA_FAULTS:
            raise
        except (psycopg.Error, TimeoutError, OSError) as error:
            raise StoreUnavailable(_reason(error)) from error


@asynccontextmanager
async def _left_if_read_only(connection: Connection) -> AsyncIterator[None]:
    """Close a connection whose server takes no writes: behind the same name there may be another by now, which does.

    As after a failover whose new primary the name did not lead to yet. The pool would keep the connection for an hour.
    """
    try:
        yield
    except psycopg.errors.ReadOnlySqlTransaction:
        await connection.close()
        raise


async def _configure(connection: Connection) -> None:
    connection.adapters.register_dumper(Utf8, Utf8Dumper)


def _reason(error: BaseException) -> str:
    """What is the matter, in words: nobody should look for a network fault where a table or a right is missing."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is None or state[:2] in _GONE:
        return f"PostgreSQL does not answer: {_first_line(error)}"
    hint = "; run `dtq migrate`" if isinstance(error, _NO_SCHEMA) else ""
    return f"PostgreSQL refuses: {_first_line(error)}{hint}"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
