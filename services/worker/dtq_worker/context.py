"""What a handler knows of its attempt: the JobContext of async handlers."""

from __future__ import annotations

from collections.abc import Callable

from dtq.blobkey import check_key
from dtq.config import Settings
from dtq.queue.claims import ClaimedJob
from dtq_worker.slots import Running

__all__ = ["Context", "checked_output", "retries_left"]


def retries_left(job: ClaimedJob, settings: Settings) -> int:
    """How often ``job`` runs again at most if the present attempt fails (dtq.retry.decide)."""
    limit = settings.maxretries if job.max_retries is None else job.max_retries
    return max(0, limit - job.failures)


def checked_output(key: str) -> str:
    """``key`` itself, if a blob can be called so: it becomes part of the job's record.

    Raises:
        TypeError: it is no text.
        ValueError: no blob is called so (dtq.blobkey).
    """
    if not isinstance(key, str):
        raise TypeError(f"ctx.output takes a blob's key as str, not {type(key).__name__}")
    return check_key(str(key))


class Context:
    """Implements :class:`dtq.registry.JobContext` on the worker's event loop."""

    __slots__ = ("_report", "_running", "_settings")

    def __init__(self, running: Running, settings: Settings, report: Callable[[str, str, float, str], None]) -> None:
        """``report(queue, id, fraction, message)`` takes a progress report."""
        self._running = running
        self._settings = settings
        self._report = report

    @property
    def id(self) -> str:
        """The job's id."""
        return self._running.job.id

    @property
    def queue(self) -> str:
        """The queue it came from."""
        return self._running.job.queue

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self._running.job.attempt

    @property
    def retries_left(self) -> int:
        """Attempts that may follow this one."""
        return retries_left(self._running.job, self._settings)

    @property
    def settings(self) -> Settings:
        """The worker's settings."""
        return self._settings

    def progress(self, fraction: float, message: str = "") -> None:
        """Report progress, ``fraction`` in 0..1."""
        self._report(self.queue, self.id, fraction, message)

    def output(self, key: str) -> None:
        """Name the blob that GET /jobs/ID/output streams; TypeError or ValueError if no blob is called so."""
        self._running.output = checked_output(key)
