"""Upkeep of the partitions: days to come are made ahead, days past retention go."""

from __future__ import annotations

import datetime

import structlog

from dtq.storage.pool import Connection, Pool
from dtq.storage.sql import statement, statement_for

__all__ = ["maintain"]

_log = structlog.get_logger(__name__)
AHEAD_DAYS = 3
STEP_SECONDS = 600.0
OLD = "_old"


async def maintain(pool: Pool, retention_days: int) -> None:
    """One round of upkeep. Whoever finds another session at it leaves it the rest.

    A day goes when it ended ``retention_days`` ago. Jobs of that day which finished later (delayed ones, replays) stay
    until they are that old themselves. What an interrupted round has detached goes first: should such a day be there
    again, it could not be detached under the same name.

    Raises:
        StoreUnavailable: try again later; every step stands for itself.
    """
    async with pool.connection() as connection:
        await connection.execute(statement("ahead"), {"days": AHEAD_DAYS})
        cutoff = await _cutoff(connection, retention_days)
        old = await _names(connection, "old_days", {"cutoff": cutoff})
    await _drop_left(pool, cutoff)
    for part in old:
        await _retire(pool, part, cutoff)
    await _drop_left(pool, cutoff)


async def _drop_left(pool: Pool, cutoff: datetime.datetime) -> None:
    """Drop all days that are detached, by this round or by one that was interrupted."""
    async with pool.connection() as connection:
        left = await _names(connection, "left_days", {})
    for part in left:
        await _drop(pool, part, cutoff)


async def _cutoff(connection: Connection, retention_days: int) -> datetime.datetime:
    cursor = await connection.execute("SELECT now()")
    row = await cursor.fetchone()
    if row is None:
        raise AssertionError("SELECT now() has one row")
    now: datetime.datetime = row[0]
    return now - datetime.timedelta(days=retention_days)


async def _names(connection: Connection, query: str, params: dict[str, object]) -> list[str]:
    cursor = await connection.execute(statement(query), params)
    return [name for (name,) in await cursor.fetchall()]


async def _mine(connection: Connection) -> bool:
    """Take the upkeep lock until the transaction ends."""
    row = await (await connection.execute(statement("maintain_lock"))).fetchone()
    return row is not None and row[0] is True


async def _retire(pool: Pool, part: str, cutoff: datetime.datetime) -> None:
    """Detach a day on which nothing is kept, or delete from it what is not."""
    async with pool.connection(STEP_SECONDS) as connection, connection.transaction():
        if not await _mine(connection) or not await _exists(connection, part):
            return
        row = await (await connection.execute(statement_for("keeps", part=part), {"cutoff": cutoff})).fetchone()
        if row is not None and row[0]:
            cursor = await connection.execute(statement_for("empty_day", part=part), {"cutoff": cutoff})
            _log.info("store_day_emptied", partition=part, rows=cursor.rowcount)
            return
        await connection.execute(statement_for("detach_day", part=part, old=part + OLD))


async def _drop(pool: Pool, old: str, cutoff: datetime.datetime) -> None:
    """Drop a detached day, after rescuing what came in while it was being detached."""
    async with pool.connection(STEP_SECONDS) as connection, connection.transaction():
        if not await _mine(connection) or not await _exists(connection, old):
            return
        params = {"cutoff": cutoff}
        await connection.execute(statement_for("rescue_days", old=old), params)
        rescued = await connection.execute(statement_for("rescue", old=old), params)
        await connection.execute(statement_for("drop_day", old=old))
        _log.info("store_day_dropped", partition=old.removesuffix(OLD), rescued=rescued.rowcount)


async def _exists(connection: Connection, part: str) -> bool:
    row = await (await connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"dtq.{part}",))).fetchone()
    return row is not None and row[0] is True
