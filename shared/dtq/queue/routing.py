"""Packets of commands to one node of a cluster.

redis-py sends a command again when its answer was lost, which only its caller may do with a script that is not safe to
repeat; and it has no way to send several commands on one connection to the node of a key, wherever that is by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode
from redis.exceptions import AskError, ClusterDownError, ClusterError, MaxConnectionsError, MovedError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["routed"]

REDIRECTS = 16
"""Times that nodes may name each other for a slot, as redis-py has it."""

MIGRATING = 0.05
"""Seconds to wait while some keys of a slot are on one node and some on another."""

Commands = Sequence[tuple[Any, ...]]
Swap = Callable[[Any, Commands], Awaitable[list[Any]]]


async def routed(client: Any, key: str, commands: Commands, swap: Swap) -> list[Any]:
    """Send ``commands``, which are all about the slot of ``key``, to its node, and return the answers.

    The first command decides about the rest: if its node has it not, they go to the node that has.

    Raises:
        redis.exceptions.RedisError: the connection broke; the commands may have been executed.
        redis.exceptions.RedisClusterException: nobody has the slot.
    """
    asked = None
    for _ in range(REDIRECTS):
        await client.initialize()
        node = asked or client.get_node_from_key(key)
        sent = [part for command in commands for part in (("ASKING",), command)] if asked else commands
        answers = await _at(client, node, sent, swap)
        if asked:
            answers, asked = answers[1::2], None
        first = answers[0]
        if isinstance(first, MovedError):
            await client.nodes_manager.move_slot(first)
        elif isinstance(first, AskError):
            asked = _named(client, first)
        elif isinstance(first, TryAgainError):
            await asyncio.sleep(MIGRATING)
        else:
            if isinstance(first, ClusterDownError):
                _learn(client)
            return answers
    raise ClusterError("the nodes do not agree about a slot")


def _named(client: Any, redirect: AskError) -> Any:
    """The node that is to be asked. One that has just joined has no slot yet, and so is in nobody's list of slots."""
    known = client.get_node(host=redirect.host, port=redirect.port)
    if known is None:
        known = ClusterNode(redirect.host, redirect.port, "primary", **client.connection_kwargs)
        client.nodes_manager.nodes_cache[known.name] = known  # kept for the next one, as redis-py does with those of MOVED
    return known


async def _at(client: Any, node: Any, commands: Commands, swap: Swap) -> list[Any]:
    """One packet to ``node``; if it is away, the client learns about the nodes anew before its next command."""
    try:
        async with client.turn(node.name):
            connection = node.acquire_connection()
            try:
                await _fresh(node, connection)
                return await swap(connection, commands)
            finally:
                node.release(connection)
    except MaxConnectionsError:
        raise  # says nothing about the node
    except (RedisConnectionError, RedisTimeoutError, OSError):
        node.update_active_connections_for_reconnect()
        await node.disconnect_free_connections()
        client.nodes_manager.move_node_to_end_of_cached_nodes(node.name)
        _learn(client)
        raise


async def _fresh(node: Any, connection: Any) -> None:
    """Have the connection made, anew if the server has closed it while it was idle."""
    await node.disconnect_if_needed(connection)
    await connection.connect()
    try:
        broken = await connection.can_read()
    except (RedisConnectionError, RedisTimeoutError, OSError):
        broken = True
    if broken:
        await connection.disconnect()
        await connection.connect()


def _learn(client: Any) -> None:
    client._initialize = True  # redis-py's only public way, aclose(), would cut off what others are waiting for
