"""Finished jobs that Redis keeps for longer, because PostgreSQL was away as they ended."""

from __future__ import annotations

from collections.abc import Iterable

from dtq.job import TerminalJob
from dtq.queue import keys
from dtq.queue.connection import Client

__all__ = ["keep_no_longer"]


async def keep_no_longer(client: Client, queue: str, rows: Iterable[TerminalJob], result_ms: int) -> None:
    """Have Redis forget jobs that are in PostgreSQL now within ``result_ms`` (RESULTTTL), as others.

    Jobs that were submitted in the same moment share a key: those of them that are still on their way to PostgreSQL have
    as long to get there.

    Raises:
        RedisError: also when the server is away.
    """
    pipe = client.pipeline(transaction=False)
    for key in sorted({keys.done(queue, row.id) for row in rows}):
        pipe.pexpire(key, result_ms, lt=True)
    await pipe.execute()
