"""WAITREPLICAS: what is promised to somebody counts when so many replicas have it.

The server's WAIT answers how many replicas have all that was written *through this connection*. What a script finds done
already, such as the repeat of a submission, it does not write again, and then WAIT would say yes about a write that no
replica has. So a write of its own goes before it: replicas that have that one have all before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from dtq.errors import ReplicasMissing
from dtq.queue.connection import Client, exchange, replicas_of, translated

__all__ = ["WAIT_MS", "Exchange", "confirmed", "settled", "too_few"]

WAIT_MS = 1000
"""How long the replicas have to confirm. A submission has two seconds in all."""

_MARK = """\
redis.pcall('HDEL', KEYS[1] .. ':cancel', '')
redis.call('SET', KEYS[1] .. ':mark', '', 'PX', 60000)
return 1"""
# HDEL changes nothing, but after it a server at its maxmemory lets the script write (see lua/common.lua).

Exchange = Callable[[str, list[tuple[Any, ...]]], Awaitable[list[Any]]]
"""Sends commands about one key in a packet of their own, and returns their answers, errors included."""


async def settled(client: Client, key: str, command: tuple[Any, ...]) -> Any:
    """``command``, about the slot of ``key``, and its answer, once as many replicas have it as WAITREPLICAS asks for.

    ``key`` has its hash tag in braces.

    Raises:
        QueueUnavailable: the server does not answer or refuses writes, or too few replicas have it.
    """
    replicas = replicas_of(client)
    with translated(key):
        if replicas:
            return await confirmed(partial(exchange, client), replicas, key, command)
        return await client.execute_command(*command)


async def confirmed(exchange: Exchange, replicas: int, key: str, command: tuple[Any, ...]) -> Any:
    """``command``, about the slot of ``key``, and its answer once ``replicas`` replicas have what it and others wrote.

    All goes in one packet, on one connection: to one and the same server.

    Raises:
        redis.exceptions.RedisError: as the command does; an error that the server answers needs no replica.
        ReplicasMissing: too few replicas have it in time. It is written, and may or may not outlive the server.
    """
    commands = [command, ("EVAL", _MARK, 1, key), ("WAIT", replicas, WAIT_MS)]
    answers = await exchange(key, commands)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    if answers[2] < replicas:
        raise too_few(answers[2], replicas)
    return answers[0]


def too_few(found: int, wanted: int) -> ReplicasMissing:
    """The error that says so."""
    return ReplicasMissing(f"{found} of the replicas of Redis confirmed the write within {WAIT_MS} ms, and WAITREPLICAS asks for {wanted}")
