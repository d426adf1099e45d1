"""A slot of a cluster on its way to a node that has just joined: calls go on, wherever its keys are by now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from faultkit.stand import until

from dtq.embedded import ValkeyServer, form_cluster
from dtq.queue.connection import call, connect, exchange

ASK = ("EVAL", "return redis.call('INCR', KEYS[1])", 1, "{a}")


def admin(server: ValkeyServer) -> Any:
    return redis.Redis(port=server.port, decode_responses=True)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    """A cluster of one node that has all slots, and a node that does not know it yet."""
    old, new = (ValkeyServer(tmp_path / name, durable=False, cluster=True) for name in ("old", "new"))
    try:
        old.start()
        new.start()
        form_cluster([old])
        yield old, new
    finally:
        new.stop()
        old.stop()


def know_each_other(first: Any, second: Any) -> bool:
    """Whether each lists the other, by its name."""
    nodes = [str(client.execute_command("CLUSTER", "NODES")) for client in (first, second)]
    return all(str(client.execute_command("CLUSTER", "MYID")) in text for client in (first, second) for text in nodes)


async def test_a_node_that_has_just_joined_is_asked(pair: tuple[ValkeyServer, ValkeyServer]) -> None:
    old, new = pair
    client = await connect(old.url, cluster=True)
    try:
        with admin(old) as source, admin(new) as target:
            bus = source.config_get("cluster-port")["cluster-port"]
            target.execute_command("CLUSTER", "MEET", "127.0.0.1", old.port, bus)
            slot = source.execute_command("CLUSTER", "KEYSLOT", "{a}")
            names = [str(each.execute_command("CLUSTER", "MYID")) for each in (source, target)]
            until("they know each other", lambda: know_each_other(source, target))
            until("the new node serves", lambda: target.cluster("INFO")["cluster_state"] == "ok")
            target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
            source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
            assert await call(client, *ASK) == 1
            assert await exchange(client, "{a}", [ASK, ASK]) == [2, 3]
            assert target.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
            assert len({node.name for node in client.get_nodes()}) == 2
            for each in (target, source):
                each.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
            assert await call(client, *ASK) == 4
    finally:
        await client.aclose()
