"""When to run a failed job again: pure decisions, the caller acts on them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from dtq.errors import Permanent, Retry

__all__ = ["Backoff", "Decision", "decide"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, capped (AWS Architecture Blog, "Exponential Backoff and Jitter").

    ``base`` and ``cap`` are seconds. Attempt 1 waits up to ``base``, attempt n up to ``base * 2**(n-1)``, never more
    than ``cap``; the lower half of that range is not used, so that a retry is never immediate.
    """

    base: float = 1.0
    cap: float = 600.0

    def delay(self, failures: int, rand: float | None = None) -> float:
        """Seconds to wait after the ``failures``-th failed attempt (1, 2, ...). ``rand`` in [0, 1) replaces chance."""
        ceiling: float = min(self.cap, self.base * 2.0 ** min(failures - 1, 62))
        chance = random.random() if rand is None else rand  # noqa: S311 - jitter, not a secret
        return ceiling * (0.5 + 0.5 * chance)


@dataclass(frozen=True, slots=True)
class Decision:
    """``retry_in`` is the delay in seconds before the next attempt, or None to end the job as failed."""

    retry_in: float | None


def decide(error: BaseException, failures: int, max_retries: int, backoff: Backoff, rand: float | None = None) -> Decision:
    """Whether a job whose ``failures``-th attempt ended with ``error`` runs again, and after how long.

    A job runs at most ``max_retries + 1`` times. ``Permanent`` never runs again. ``Retry(after=...)`` is honoured as
    given, but not beyond the retries that are left.
    """
    if isinstance(error, Permanent) or failures > max_retries:
        return Decision(None)
    if isinstance(error, Retry) and error.after is not None:
        return Decision(max(0.0, error.after))
    return Decision(backoff.delay(failures, rand))
