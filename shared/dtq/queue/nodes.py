"""Connections to the nodes of a cluster, which others may close while they are used.

After any sign that a node is away redis-py closes the connections to it that are free; one that is taken in that moment loses
its socket under its user's hands, who then meets an AttributeError (redis-py 8.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = ["own_connections"]


class _Node(Connection):
    """Is closed at once or not at all, and says so to who uses it."""

    async def disconnect(self, nowait: bool = False, *args: Any, **kwargs: Any) -> None:
        # Waiting for the socket's end would let another make the connection anew, and then take that one from it.
        await super().disconnect(True, *args, **kwargs)

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        if not self.is_connected:
            raise RedisConnectionError("the connection was closed under way")
        await super()._send_packed_command(command)


class _SecureNode(_Node, SSLConnection):
    pass


_KINDS: dict[type[Any], type[Any]] = {Connection: _Node, SSLConnection: _SecureNode}


def own_connections(cluster: Any) -> None:
    """Have a new ``cluster`` client, not connected yet, make its connections of the kind above."""
    kind = _KINDS[cluster.connection_kwargs["connection_class"]]
    cluster.connection_kwargs["connection_class"] = kind
    for node in cluster.startup_nodes:
        node.connection_class = kind
