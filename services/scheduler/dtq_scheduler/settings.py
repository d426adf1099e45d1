"""Settings of the Redis server that DTQ relies on: the wrong ones are told in the log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from redis.exceptions import ResponseError

from dtq.queue import Queue
from dtq.queue.connection import Client, translated
from dtq_scheduler.servers import address

__all__ = ["ServerSettings", "read_settings", "wrong"]

WANTED = {
    "appendonly": ("yes", "a restart loses every job"),
    "appendfsync": ("always", "what was accepted in the last second or two is lost when the machine fails, or Redis on a slow disk"),
    "maxmemory-policy": ("noeviction", "it may delete jobs when memory is short"),
}
"""Of each setting the value that DTQ's promises need, and what happens without it."""

log = structlog.get_logger("dtq.scheduler")


class ServerSettings:
    """Looks at them at the start and, since a failover or CONFIG SET may bring others, once a minute."""

    EVERY = 60.0

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._told: set[tuple[str, str, str]] = set()

    async def step(self) -> float:
        """Tell what is wrong now, and was not at the step before."""
        found = wrong(await read_settings(self._queue.client))
        for node, name, value in sorted(found - self._told):
            wanted, why = WANTED[name]
            log.warning("redis_setting", node=node, setting=name, value=value, wanted=wanted, why=why)
        self._told = found
        return self.EVERY


def wrong(servers: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str, str]]:
    """Node, setting and value of those that differ from what is wanted. Without the append-only file its sync is of no interest."""
    found = set()
    for node, settings in servers.items():
        off = settings.get("appendonly") == "no"
        for name, value in settings.items():
            if name in WANTED and value != WANTED[name][0] and not (off and name == "appendfsync"):
                found.add((node, name, value))
    return found


async def read_settings(client: Client) -> dict[str, dict[str, str]]:
    """Of the server, or of each primary of a cluster, as far as this user may ask (INFO, CONFIG GET).

    Raises:
        QueueUnavailable: a server does not answer.
    """
    with translated():
        if not hasattr(client, "get_primaries"):
            return {address(client): await _of(client, {})}
        return {node.name: await _of(client, {"target_nodes": node}) for node in client.get_primaries()}


async def _of(client: Client, where: dict[str, Any]) -> dict[str, str]:
    settings: dict[str, str] = {}
    with contextlib.suppress(ResponseError):  # no right to ask
        settings = _of_info(await client.info("persistence", **where), await client.info("memory", **where))
    try:
        # INFO knows nothing of appendfsync; services of clouds have no CONFIG.
        answer = await client.execute_command("CONFIG", "GET", "appendfsync", **where)
    except ResponseError:
        return settings
    return settings | _pairs(answer)


def _of_info(persistence: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, str]:
    settings = {}
    if "aof_enabled" in persistence:
        settings["appendonly"] = "yes" if persistence["aof_enabled"] else "no"
    if "maxmemory_policy" in memory:
        settings["maxmemory-policy"] = str(memory["maxmemory_policy"])
    return settings


def _pairs(answer: Mapping[Any, Any] | Iterable[Any]) -> dict[str, str]:
    """CONFIG GET answers a mapping, or a flat list, of bytes or of texts."""
    words = [part for pair in answer.items() for part in pair] if isinstance(answer, Mapping) else list(answer)
    texts = [word.decode() if isinstance(word, bytes) else str(word) for word in words]
    return dict(zip(texts[::2], texts[1::2], strict=True))
