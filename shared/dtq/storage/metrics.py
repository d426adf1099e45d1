"""A service's connections to PostgreSQL as metrics: each service that has a store registers one collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dtq.storage.pool import PoolStats

__all__ = ["PoolCollector"]


class PoolCollector(Collector):
    """Asks ``stats`` (:meth:`dtq.storage.Store.pool_stats`) at each scrape; that costs microseconds and no query."""

    def __init__(self, stats: Callable[[], PoolStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """The metrics, as Prometheus wants them."""
        found = self._stats()
        connections = GaugeMetricFamily("dtq_postgres_pool_connections", "Connections to PostgreSQL by state.", labels=["state"])
        connections.add_metric(["idle"], found.idle)
        connections.add_metric(["busy"], found.busy)
        yield connections
        yield GaugeMetricFamily("dtq_postgres_pool_limit", "Most connections this process makes.", value=found.limit)
        yield GaugeMetricFamily("dtq_postgres_pool_waiting", "Calls that wait for a connection.", value=found.waiting)
        refused = "Calls that got no connection in time."
        yield CounterMetricFamily("dtq_postgres_pool_refused", refused, value=found.refused)
