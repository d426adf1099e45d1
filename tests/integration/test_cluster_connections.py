"""A cluster's node whose connections are closed while they are used is away for their callers: no fault of the program."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dtq.embedded import ValkeyServer
from dtq.errors import QueueUnavailable
from dtq.queue.connection import call, connect, translated

CALLERS = 8
ROUNDS = 150


async def ask(client: Any, answers: list[Any], *, piped: bool) -> None:
    """Ask on and on; what is not an answer is a QueueUnavailable."""
    for _ in range(ROUNDS):
        try:
            with translated():
                if piped:
                    pipe = client.pipeline(transaction=False)
                    pipe.execute_command("GET", "{a}")
                    [answer] = await pipe.execute()
                else:
                    answer = await call(client, "EVAL", "return redis.call('GET', KEYS[1])", 1, "{a}")
        except QueueUnavailable as error:
            answer = error
        answers.append(answer)


@pytest.mark.parametrize("piped", [False, True])
async def test_connections_closed_under_way(cluster_nodes: list[ValkeyServer], piped: bool) -> None:
    client = await connect(cluster_nodes[0].url, cluster=True)
    answers: list[Any] = []
    try:
        node = client.get_node_from_key("{a}")
        askers = [asyncio.create_task(ask(client, answers, piped=piped)) for _ in range(CALLERS)]
        while not all(asker.done() for asker in askers):
            await node.disconnect_free_connections()  # as redis-py does after any sign that a node is away
            await asyncio.sleep(0)
        await asyncio.gather(*askers)
    finally:
        await client.aclose()
    assert len(answers) == CALLERS * ROUNDS
    assert None in answers
