"""A service's connections to PostgreSQL as metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dtq.errors import StoreUnavailable
from dtq.storage import Store
from dtq.storage.metrics import PoolCollector


def exported(store: Store) -> list[str]:
    registry = CollectorRegistry()
    registry.register(PoolCollector(store.pool_stats))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


async def test_connections_are_busy_or_idle(store: Store) -> None:
    assert 'dtq_postgres_pool_connections{state="busy"} 0.0' in exported(store)
    await store.ping()
    assert exported(store) == [
        'dtq_postgres_pool_connections{state="idle"} 1.0',
        'dtq_postgres_pool_connections{state="busy"} 0.0',
        "dtq_postgres_pool_limit 4.0",
        "dtq_postgres_pool_waiting 0.0",
        "dtq_postgres_pool_refused_total 0.0",
    ]


async def test_a_call_that_got_no_connection_is_counted() -> None:
    store = Store("postgresql://127.0.0.1:1/none")
    await store.open()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    assert "dtq_postgres_pool_refused_total 1.0" in exported(store)
    await store.close()
