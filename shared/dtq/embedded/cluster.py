"""A Valkey cluster of embedded servers, for tests and benchmarks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis

from dtq.embedded.valkey import ValkeyServer

__all__ = ["form_cluster"]

SLOTS = 16384
PATIENCE = 30.0
"""Seconds for which nodes on one machine may take to agree; they need one or two."""


def form_cluster(nodes: Sequence[ValkeyServer]) -> None:
    """Share the slots out among running, empty servers and introduce them to each other; returns when each says that the cluster serves.

    Raises:
        TimeoutError: they did not agree within half a minute.
    """
    clients: list[Any] = [redis.Redis.from_url(node.url, decode_responses=True) for node in nodes]
    share = -(-SLOTS // len(nodes))
    for number, (node, client) in enumerate(zip(nodes, clients, strict=True)):
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, min(SLOTS, (number + 1) * share) - 1)
        if number == 0:
            continue
        bus = client.config_get("cluster-port")["cluster-port"]
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
    deadline = time.monotonic() + PATIENCE
    for client in clients:
        while not _serves(client, len(nodes)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster did not form in {PATIENCE:g} s")
            time.sleep(0.05)
        client.close()


def _serves(client: Any, size: int) -> bool:
    info: Any = client.execute_command("CLUSTER", "INFO")
    if not isinstance(info, dict):
        info = dict(line.split(":", 1) for line in info.split())
    wanted = {"cluster_state": "ok", "cluster_known_nodes": str(size), "cluster_size": str(size)}
    return all(info.get(name) == value for name, value in wanted.items())
