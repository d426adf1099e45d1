"""The worker's metrics (names: docs/monitoring.md). Counting is done once a batch, and histograms are plain lists:
the hot path pays a fraction of a microsecond a job.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dtq import __version__
from dtq_worker.outcome import Ending

__all__ = ["WorkerMetrics"]

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper bounds in seconds."""


OUTCOMES = ("succeeded", "failed", "cancelled")

MOST_SERIES = 500
"""Queues times types up to which counters are there before the first job: what begins at 1 shows no increase."""


class _Histogram:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        found, sum_so_far = [], 0
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self.counts, strict=True):
            sum_so_far += count
            found.append((bound, float(sum_so_far)))
        return found


class WorkerMetrics(Collector):
    """Counts endings.

    ``slots()`` answers (busy, all), ``heartbeat()`` the time of the last renewal, ``served()`` queues and job types.
    """

    def __init__(
        self,
        slots: Callable[[], tuple[int, int]],
        heartbeat: Callable[[], float],
        served: Callable[[], tuple[Collection[str], Collection[str]]],
    ) -> None:
        """Register with a prometheus_client registry to export."""
        self._served = served
        self._slots = slots
        self._heartbeat = heartbeat
        self._finished: dict[tuple[str, str, str], int] = {}
        self._retries: dict[tuple[str, str], int] = {}
        self._wait: dict[tuple[str, str], _Histogram] = {}
        self._duration: dict[tuple[str, str], _Histogram] = {}

    def count(self, endings: list[Ending]) -> None:
        """Count attempts whose end the queue has confirmed."""
        for ending in endings:
            job, outcome = ending.finish.job, ending.outcome
            key = (job.queue, job.type)
            if ending.row is not None:
                final = (*key, ending.label)
                self._finished[final] = self._finished.get(final, 0) + 1
            elif ending.label == "retried":
                self._retries[key] = self._retries.get(key, 0) + 1
            if ending.label == "handed_back":
                continue  # it did not count: the attempt that does is measured when it ends
            _of(self._duration, key).observe((outcome.finished - outcome.started) / 1000)
            if job.attempt == 1:
                _of(self._wait, key).observe(max(0, outcome.started - job.submitted) / 1000)

    def _pairs(self) -> list[tuple[str, str]]:
        """Queues and types that may come, unless they are many."""
        queues, types = self._served()
        return [(queue, jtype) for queue in queues for jtype in types] if len(queues) * len(types) <= MOST_SERIES else []

    def collect(self) -> Iterable[Metric]:
        """The metrics, as Prometheus wants them."""
        finished = CounterMetricFamily("dtq_jobs_finished", "Jobs that reached a terminal state", labels=["queue", "type", "outcome"])
        pairs = self._pairs()
        zeros = {(*pair, outcome): 0 for pair in pairs for outcome in OUTCOMES}
        for labels, value in (zeros | self._finished).items():
            finished.add_metric(labels, value)
        retries = CounterMetricFamily("dtq_job_retries", "Attempts that failed and will be repeated", labels=["queue", "type"])
        for pair, value in (dict.fromkeys(pairs, 0) | self._retries).items():
            retries.add_metric(pair, value)
        yield finished
        yield retries
        yield _family("dtq_job_wait_seconds", "From submission to the first attempt's start", self._wait)
        yield _family("dtq_job_duration_seconds", "Run time of an attempt", self._duration)
        busy, total = self._slots()
        slots = GaugeMetricFamily("dtq_worker_slots", "Slots of this worker", labels=["state"])
        slots.add_metric(["busy"], busy)
        slots.add_metric(["free"], max(0, total - busy))
        yield slots
        beat = "When this worker last renewed its leases"
        yield GaugeMetricFamily("dtq_worker_last_heartbeat_timestamp_seconds", beat, value=self._heartbeat())
        info = GaugeMetricFamily("dtq_build_info", "Version of the running code", labels=["version", "service"])
        info.add_metric([__version__, "worker"], 1)
        yield info


def _of(where: dict[tuple[str, str], _Histogram], key: tuple[str, str]) -> _Histogram:
    found = where.get(key)
    if found is None:
        found = where[key] = _Histogram()
    return found


def _family(name: str, text: str, values: dict[tuple[str, str], _Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=["queue", "type"])
    for pair, histogram in list(values.items()):
        family.add_metric(pair, histogram.buckets(), histogram.total)
    return family
