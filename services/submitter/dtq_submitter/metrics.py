"""The submitter's metrics. Labels are names of queues, types and routes; never a job's id."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from dtq import __version__

__all__ = ["Metrics"]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds in seconds."""


class Metrics:
    """Counts into a registry of its own, so that several apps fit in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._submitted = Counter("dtq_jobs_submitted", "Jobs accepted.", ["queue", "type"], registry=self.registry)
        self._requests = Counter("dtq_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "dtq_http_request_seconds", "Time to answer a submission.", ["route"], registry=self.registry, buckets=BUCKETS
        )
        self._waits = Gauge("dtq_http_waits", "Callers that wait for a job's end.", registry=self.registry)
        build = Gauge("dtq_build_info", "Version of DTQ.", ["version", "service"], registry=self.registry)
        build.labels(__version__, "submitter").set(1)
        # labels() takes a lock and makes a tuple of texts each time; the children are kept.
        self._jobs: dict[tuple[str, str], Counter] = {}
        self._answers: dict[tuple[str, str, int], Counter] = {}
        self._times: dict[str, Histogram] = {}

    def submitted(self, queue: str, job_type: str, count: int = 1) -> None:
        """Count jobs that are new: an idempotent repeat is none."""
        child = self._jobs.get((queue, job_type))
        if child is None:
            child = self._jobs[queue, job_type] = self._submitted.labels(queue, job_type)
        child.inc(count)

    def answered(self, method: str, route: str, status: int) -> None:
        """Count an answer; ``route`` is a path's pattern."""
        child = self._answers.get((method, route, status))
        if child is None:
            child = self._answers[method, route, status] = self._requests.labels(method, route, str(status))
        child.inc()

    def took(self, route: str, seconds: float) -> None:
        """Note how long a submission took."""
        child = self._times.get(route)
        if child is None:
            child = self._times[route] = self._seconds.labels(route)
        child.observe(seconds)

    def waiting(self, count: int) -> None:
        """Note how many callers wait."""
        self._waits.set(count)
