"""The servers of one pass: a Valkey and a PostgreSQL of our own, the same for all systems."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from peers.processes import cpu
from peers.submitter import Failed

from dtq.embedded import PostgresServer, ValkeyServer

STEADY = 2048
"""Bytes by which used_memory may differ between two looks: answering takes some itself."""


class Servers:
    """Started when made; ``close`` stops them and removes their data."""

    def __init__(self, mode: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="dtq-peers-"))
        self._folder.chmod(0o755)
        sockets = self._folder / "sockets"
        sockets.mkdir()
        sockets.chmod(0o777)
        fsync = ["--appendfsync", "everysec"] if mode == "everysec" else []
        self._valkey = ValkeyServer(self._folder / "valkey", extra_args=fsync, durable=mode != "memory")
        settings = {"unix_socket_directories": str(sockets)}
        if mode == "everysec":
            settings["synchronous_commit"] = "off"
        self._postgres = PostgresServer(self._folder / "postgres", settings=settings)
        try:
            self._valkey.start()
            self._postgres.start()
        except BaseException:
            self.close()
            raise
        self._client: Any = redis.Redis.from_url(self._valkey.url)
        password = (self._folder / "postgres/password").read_text().strip()
        # A unix socket, which is what a user has who keeps PostgreSQL on the same machine.
        self._dsn = f"postgresql://postgres:{password}@/postgres?host={sockets}&port={self._postgres.port}"

    @property
    def versions(self) -> str:
        return f"Valkey {self._client.info('server').get('valkey_version')}, PostgreSQL 18"

    def environment(self) -> dict[str, str]:
        return {"BENCH_REDIS_URL": f"{self._valkey.url}/0", "BENCH_PG_DSN": self._dsn}

    @property
    def redis_url(self) -> str:
        return self._valkey.url

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each server so far."""
        assert self._valkey.pid is not None
        assert self._postgres.pid is not None
        return {"redis": cpu(self._valkey.pid), "postgres": cpu(self._postgres.pid)}

    def used_memory(self) -> int:
        """Bytes that Valkey has allocated, once all clients but this one have gone and their buffers are freed."""
        before, deadline = -1, time.monotonic() + 20
        while time.monotonic() < deadline:
            used = int(self._client.info("memory")["used_memory"])
            if self._client.info("clients")["connected_clients"] == 1 and abs(used - before) < STEADY:
                return used
            before = used
            time.sleep(0.5)
        raise Failed("Valkey's memory does not come to rest")

    def flush(self) -> None:
        self._client.flushall(asynchronous=False)  # freed at once: used_memory is read soon

    def close(self) -> None:
        self._postgres.stop()
        self._valkey.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
