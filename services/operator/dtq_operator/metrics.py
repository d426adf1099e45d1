"""The operator's metrics."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge

from dtq import __version__

__all__ = ["RESULTS", "Metrics"]

RESULTS = ("created", "changed", "unchanged", "stale", "deleted", "refused", "conflict", "unavailable", "failed")


class Metrics:
    """Counts what was done, and shows how fresh it is."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        info = Gauge("dtq_build_info", "1; the labels say what is running.", ["service", "version"], registry=self.registry)
        info.labels("operator", __version__).set(1)
        self._reconciled = Counter(
            "dtq_operator_reconcile_total", "ScheduledJobs looked at, by what came of it.", ["result"], registry=self.registry
        )
        for result in RESULTS:
            self._reconciled.labels(result)
        self._resynced = Gauge(
            "dtq_operator_last_resync_timestamp_seconds",
            "When resources and Redis were last compared in full, Unix time; 0: not yet.",
            registry=self.registry,
        )
        self._resources = Gauge("dtq_operator_resources", "ScheduledJobs found by the last full comparison.", registry=self.registry)

    def reconciled(self, result: str) -> None:
        """Count one resource."""
        self._reconciled.labels(result).inc()

    def resynced(self, resources: int) -> None:
        """Note a full comparison that went well."""
        self._resynced.set(time.time())
        self._resources.set(resources)
