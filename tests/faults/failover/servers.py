"""A primary with replicas that Sentinels watch, and a cluster in which each primary has a replica."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from faultkit.stand import until

from dtq.embedded import ValkeyServer, form_cluster, free_port

__all__ = ["SERVICE", "Replicated", "Shards", "open_replicated", "open_shards"]

SERVICE = "dtq"
"""What the Sentinels call the primary."""

DOWN_MS = 1000
"""Milliseconds without an answer after which a Sentinel, or a cluster's node, takes a server for dead."""

NODE_TIMEOUT_MS = 2000
"""The same between the nodes of a cluster: shorter, and a busy machine would see failovers that nobody asked for."""

FAILOVER_MS = 10_000
"""Milliseconds after which Sentinels try again to make a replica the primary."""

REPLICATION = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--repl-timeout", "10"]


class Sentinel(ValkeyServer):
    """One Sentinel: the same program, started as one."""

    title = "Sentinel"

    def __init__(self, data_dir: Path, primary_port: int, quorum: int) -> None:
        """Watches the primary at ``primary_port``, and finds its replicas and the other Sentinels by itself."""
        super().__init__(data_dir, free_port())
        self._primary_port = primary_port
        self._quorum = quorum

    def _command(self) -> list[str]:
        config = self.files / "sentinel.conf"
        if not config.exists():  # it writes into it what it learns
            config.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.files}\npidfile {self.files / 'valkey.pid'}\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary_port} {self._quorum}\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}\nsentinel failover-timeout {SERVICE} {FAILOVER_MS}\n"
            )
        return [str(self._binary()), str(config), "--sentinel"]


def _client(server: ValkeyServer) -> Any:
    return redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=5)


def _role(server: ValkeyServer) -> str:
    """master or slave; '' of one that does not answer."""
    if not server.alive():
        return ""
    try:
        with _client(server) as client:
            return str(client.info("replication")["role"])
    except redis.RedisError:
        return ""


def synced(server: ValkeyServer) -> int:
    """How many replicas have caught up with this primary."""
    try:
        with _client(server) as client:
            info = client.info("replication")
    except redis.RedisError:
        return 0
    replicas = [value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict)]
    return sum(replica["state"] == "online" for replica in replicas)


class _Group:
    """Servers, one of which is the primary."""

    def __init__(self, servers: Sequence[ValkeyServer]) -> None:
        self.servers = list(servers)

    @property
    def primary(self) -> ValkeyServer:
        """The server that is the primary now; waits until there is one."""
        found: list[ValkeyServer] = until("there is one primary", self._primaries, 60)
        return found[0]

    def _primaries(self) -> list[ValkeyServer]:
        found = [server for server in self.servers if _role(server) == "master"]
        return found if len(found) == 1 else []

    def replicas(self) -> list[ValkeyServer]:
        """The servers that run as replicas."""
        return [server for server in self.servers if _role(server) == "slave"]

    def wait_synced(self, count: int) -> None:
        """Return when the primary has so many replicas that have caught up."""
        until(f"{count} replicas are in step", lambda: synced(self.primary) >= count, 60)

    def freeze(self, server: ValkeyServer) -> None:
        """Have it do nothing, as a host that has lost its network."""
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)

    def thaw(self, server: ValkeyServer) -> None:
        """Have it go on."""
        assert server.pid is not None
        os.kill(server.pid, signal.SIGCONT)

    def restart(self, server: ValkeyServer, primary: ValkeyServer) -> None:
        """Start a server that was killed. It says it is the primary until it is told otherwise."""
        server.start()
        until("the old primary is a replica", lambda: _role(server) == "slave", 60)
        self.wait_synced(1)
        assert self.primary is primary

    def _end(self) -> None:
        for server in self.servers:
            with contextlib.suppress(ProcessLookupError):
                if server.alive() and server.pid is not None:
                    os.kill(server.pid, signal.SIGCONT)
            server.stop()


class Replicated(_Group):
    """A primary, its replicas, and three Sentinels that agree by two."""

    def __init__(self, folder: Path, replicas: int, args: Sequence[str] = ()) -> None:
        """Not started yet."""
        primary = ValkeyServer(folder / "server-0", free_port(), [*REPLICATION, *args])
        follow = ["--replicaof", f"127.0.0.1 {primary.port}"]
        others = [ValkeyServer(folder / f"server-{n + 1}", free_port(), [*REPLICATION, *follow, *args]) for n in range(replicas)]
        super().__init__([primary, *others])
        self.sentinels = [Sentinel(folder / f"sentinel-{number}", primary.port, 2) for number in range(3)]

    @property
    def url(self) -> str:
        """REDISADDR of services."""
        return f"sentinel://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in self.sentinels)}/{SERVICE}"

    def start(self) -> None:
        """Start all, and return when the Sentinels know each other and all replicas."""
        for server in self.servers:
            server.start()
        self.wait_synced(len(self.servers) - 1)
        for sentinel in self.sentinels:
            sentinel.start()
        until("the Sentinels know all", lambda: all(self._knows(sentinel) for sentinel in self.sentinels), 60)

    def _knows(self, sentinel: Sentinel) -> bool:
        with redis.Redis.from_url(sentinel.url, decode_responses=True) as client:
            state = client.sentinel_masters()[SERVICE]
        return (state["num-slaves"], state["num-other-sentinels"]) == (len(self.servers) - 1, len(self.sentinels) - 1)

    def named(self) -> int:
        """The port of the primary by what most Sentinels say; 0 if none is said to be up."""
        ports = []
        for sentinel in self.sentinels:
            with redis.Redis.from_url(sentinel.url, decode_responses=True) as client:
                state = client.sentinel_masters()[SERVICE]
            ports.append(0 if state["is_sdown"] or state["is_odown"] else int(state["port"]))
        return max(set(ports), key=ports.count)

    def stop(self) -> None:
        """End all processes."""
        for sentinel in self.sentinels:
            sentinel.stop()
        self._end()


class Shards:
    """A cluster of three primaries with a replica each."""

    def __init__(self, folder: Path, args: Sequence[str] = ()) -> None:
        """Not started yet."""
        options = ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0", *REPLICATION, *args]
        nodes = [ValkeyServer(folder / f"node-{number}", free_port(), options, cluster=True) for number in range(6)]
        self.groups = [_Group([nodes[number], nodes[number + 3]]) for number in range(3)]
        self.nodes = nodes

    @property
    def url(self) -> str:
        """REDISADDR of services: the first node."""
        return self.nodes[0].url

    def start(self) -> None:
        """Start the nodes, and return when each says that the cluster serves and every replica is in step."""
        for node in self.nodes:
            node.start()
        form_cluster(self.nodes[:3])
        clients = [_client(node) for node in self.nodes]
        for node, client in zip(self.nodes[3:], clients[3:], strict=True):
            bus = client.config_get("cluster-port")["cluster-port"]
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        until("the nodes know each other", lambda: all(self._says(client, "cluster_known_nodes:6") for client in clients), 60)
        for number, client in enumerate(clients[3:]):
            client.execute_command("CLUSTER", "REPLICATE", clients[number].execute_command("CLUSTER", "MYID"))
        until("the cluster serves", lambda: all(self._says(client, "cluster_state:ok") for client in clients), 60)
        for client in clients:
            client.close()
        for group in self.groups:
            group.wait_synced(1)

    def _says(self, client: Any, what: str) -> bool:
        info = client.execute_command("CLUSTER", "INFO")
        text = "\n".join(f"{name}:{value}" for name, value in info.items()) if isinstance(info, dict) else str(info)
        return what in text

    def group_of(self, key: str) -> _Group:
        """The servers that have the slot of ``key``."""
        with _client(self.nodes[1]) as client:
            slot = int(client.execute_command("CLUSTER", "KEYSLOT", key))
        return self.groups[slot // (16384 // 3 + 1)]

    def stop(self) -> None:
        """End all processes."""
        for group in self.groups:
            group._end()


@contextlib.contextmanager
def open_replicated(replicas: int = 2, args: Sequence[str] = ()) -> Iterator[Replicated]:
    """Running servers with their Sentinels; ended, and their files removed, on leaving."""
    folder = Path(tempfile.mkdtemp(prefix="dtq-sentinel-"))
    servers = Replicated(folder, replicas, args)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def open_shards(args: Sequence[str] = ()) -> Iterator[Shards]:
    """A running cluster; ended, and its files removed, on leaving."""
    folder = Path(tempfile.mkdtemp(prefix="dtq-shards-"))
    servers = Shards(folder, args)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)
