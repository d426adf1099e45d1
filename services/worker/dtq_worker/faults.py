"""What keeps the worker's long-lived tasks alive: they note a fault, wait as long as this says, and go on."""

from __future__ import annotations

import traceback

import structlog

from dtq.errors import QueueDamaged, Unavailable
from dtq.retry import Backoff

__all__ = ["Faults", "trace"]

log = structlog.get_logger("dtq.worker")


def trace(error: BaseException) -> str:
    """A traceback as text. Left to a console's renderer, it could show every local variable, which takes seconds."""
    return "".join(traceback.format_exception(error))


class Faults:
    """The faults in a row of one task."""

    def __init__(self, duty: str, base: float = 0.1, cap: float = 5.0) -> None:
        """Waits grow from ``base`` to ``cap`` seconds; ``duty`` names the task in the log."""
        self._duty = duty
        self._backoff = Backoff(base=base, cap=cap)
        self.count = 0

    def note(self, error: Exception) -> float:
        """Count a fault; the seconds to wait.

        A server that is away is the caller's to log, damage has been told where it was met, all else is told here.
        """
        self.count += 1
        if not isinstance(error, (Unavailable, QueueDamaged)):
            fields = {"exception": trace(error)} if self.count == 1 else {}
            log.error("duty_failed", duty=self._duty, failures=self.count, error=str(error), **fields)
        return self._backoff.delay(self.count)

    def clear(self) -> None:
        """All is well again."""
        self.count = 0
