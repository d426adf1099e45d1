"""Fixtures for every kind of test: a real Valkey and a real PostgreSQL for each test process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings

from dtq.embedded import PostgresServer, ValkeyServer, form_cluster
from dtq.storage import Store, pool
from dtq.storage.migrate import migrate

TEMPLATE = "dtq_template"

# How long an example may take is not asked of a machine that is busy with other tests; what is decided, is.
# In CI the examples are the same each time, so that a change fails for what it changes; on a desk they are new ones.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey of this test process; not durable. Tests that kill or configure a server start their own."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"), durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    """URL of an empty Valkey."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture(scope="session")
def cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ValkeyServer]]:
    """A Valkey cluster of three nodes."""
    nodes = [ValkeyServer(tmp_path_factory.mktemp("cluster"), durable=False, cluster=True) for _ in range(3)]
    try:
        for node in nodes:
            node.start()
        form_cluster(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.stop()


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test process; not durable. Tests that stop or configure a server start their own."""
    # Not in pytest's folder: it is closed to the account that PostgreSQL runs under when the tests run as root.
    data_dir = Path(tempfile.mkdtemp(prefix="dtq-pg-"))
    server = PostgresServer(data_dir, settings={"fsync": "off", "full_page_writes": "off", "autovacuum": "off"})
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def pg_template(pg_server: PostgresServer) -> str:
    """Name of a migrated database that is copied for each test; migrating one takes much longer than a copy."""
    with psycopg.connect(pg_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(pg_server.url_of(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def pg_dsn(pg_server: PostgresServer, pg_template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a fresh migrated database."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(pg_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {pg_template}")
        yield pg_server.url_of(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def store(pg_dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """An open store on a fresh migrated database. It waits for a connection for longer than others: the machine may be busy."""
    with monkeypatch.context() as patch:
        patch.setattr(pool, "WAIT_SECONDS", 60.0)
        patch.setattr(pool, "_CONNECT", {**pool._CONNECT, "connect_timeout": 60})
        store = Store(pg_dsn)
    await store.open()
    yield store
    await store.close()
