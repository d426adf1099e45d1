"""How many jobs to claim ahead of the free slots: a pure decision on the recent pace.

With jobs of microseconds a worker would spend its time in round trips if it claimed only as many jobs as it has free
slots. So it claims ahead what its slots get through within AHEAD seconds at the recent pace: nothing for jobs that
run for long, hundreds for the shortest.
"""

from __future__ import annotations

__all__ = ["AHEAD", "OVERDUE", "Pace"]

AHEAD = 0.05
"""Seconds of work to hold ready."""

OVERDUE = 0.25
"""A job that waited so long for a slot after all, because jobs before it ran longer, is handed back for other workers."""

MOST = 1000
"""Jobs held ready at most."""


class Pace:
    """Jobs ended a second, smoothed over the last few claims."""

    __slots__ = ("_marked", "_since", "_value", "count")

    def __init__(self) -> None:
        """Nothing is known yet: nothing is claimed ahead."""
        self.count = 0
        """Jobs that have ended."""
        self._marked = 0
        self._since = 0.0
        self._value = 0.0

    def ended(self) -> None:
        """A job ended."""
        self.count += 1

    def mark(self, now: float) -> None:
        """Take stock at a claim; ``now`` is monotonic time in seconds."""
        elapsed = now - self._since
        if elapsed > 0:
            self._value = 0.5 * self._value + 0.5 * (self.count - self._marked) / elapsed
        self._marked, self._since = self.count, now

    def stumble(self) -> None:
        """Jobs waited too long: claim nothing ahead until the pace is known again."""
        self._value = 0.0

    @property
    def ahead(self) -> int:
        """Jobs to claim beyond the free slots."""
        return min(MOST, int(self._value * AHEAD))
