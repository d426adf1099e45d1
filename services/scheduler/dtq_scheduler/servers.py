"""What the gauges ask of Redis beyond a queue's own numbers: its memory, and how old the results are that it still holds."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis.exceptions import NoPermissionError

from dtq.queue import keys
from dtq.queue.connection import Client, translated
from dtq.queue.scripts import Script

__all__ = ["Memory", "address", "memory", "outbox_age_seconds"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one server, in bytes. ``limit`` is its maxmemory; 0: it has none. ``node`` is host:port."""

    node: str
    used: int
    limit: int


async def memory(client: Client) -> list[Memory]:
    """Of the server, or of each primary of a cluster; empty when this user may not ask (INFO).

    Raises:
        QueueUnavailable: the server does not answer.
    """
    with translated():
        try:
            if hasattr(client, "get_primaries"):
                nodes = client.get_primaries()
                answers = await asyncio.gather(*(client.info("memory", target_nodes=node) for node in nodes))
                return [_memory(node.name, info) for node, info in zip(nodes, answers, strict=True)]
            return [_memory(address(client), await client.info("memory"))]
        except NoPermissionError:
            return []


async def outbox_age_seconds(client: Client, queue: str) -> float:
    """For how long the oldest results of ``queue`` have waited for PostgreSQL; 0 when there are none.

    Raises:
        QueueUnavailable: the server does not answer.
    """
    ms: int = await _script().run(client, [keys.outbox(queue)], [])
    return max(0.0, ms / 1000)


def _memory(node: str, info: dict[str, Any]) -> Memory:
    return Memory(node, int(info.get("used_memory", 0)), int(info.get("maxmemory", 0)))


def address(client: Client) -> str:
    """Where a client of one server is connected: host:port, or a socket's path."""
    primary = getattr(client.connection_pool, "master_address", None)  # the one that Sentinels have named
    if primary:
        return f"{primary[0]}:{primary[1]}"
    where = client.connection_pool.connection_kwargs
    return str(where["path"]) if "path" in where else f"{where.get('host', '')}:{where.get('port', 6379)}"


@cache
def _script() -> Script:
    text = (files("dtq_scheduler") / "lua" / "outbox_age.lua").read_text("utf-8")
    return Script("outbox_age", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
