"""Ends short sleeps of handlers on time while many jobs run.

The event loop (libuv's) counts whole milliseconds: a timer ends as the clock gets to one, but the loop waits for the kernel
for as many whole milliseconds from whenever it begins to wait, and each answer that comes meanwhile makes it begin anew. So a
sleep of 1 ms takes up to 2 on a busy worker. A timer of the kernel that rings as each millisecond begins ends the wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time

__all__ = ["Ticker", "should_ring"]

RATES = range(1_000, 10_000)
"""Jobs a second at which it rings. With fewer, what is late does not matter; with more, the loop is seldom without work."""

EVERY_NS = 1_000_000
_MONOTONIC, _ABSOLUTE = 1, 1


class _Times(ctypes.Structure):
    """struct itimerspec: how long from ring to ring, and when the first is, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


def should_ring(ended: int, seconds: float, runners: int) -> bool:
    """Whether it should ring, if so many jobs ended in so many ``seconds``. With one runner, handlers have not waited for anything."""
    return runners > 1 and int(ended / seconds) in RATES


class Ticker:
    """Rings on the running loop while it is on. Where the system has no such timer, it does nothing."""

    def __init__(self) -> None:
        """It is off."""
        self._timer: int | None = None
        self._able = True

    @property
    def on(self) -> bool:
        """Whether it rings."""
        return self._timer is not None

    def turn(self, *, on: bool) -> None:
        """Let it ring, or not."""
        if on and self._timer is None and self._able:
            self._start()
        elif not on and self._timer is not None:
            asyncio.get_running_loop().remove_reader(self._timer)
            os.close(self._timer)
            self._timer = None

    def _start(self) -> None:
        self._timer = _timer()
        self._able = self._timer is not None
        if self._timer is not None:
            asyncio.get_running_loop().add_reader(self._timer, _take, self._timer)


def _take(timer: int) -> None:
    """That it rang is all: the loop looks for timers that are due before it waits again."""
    with contextlib.suppress(BlockingIOError):  # it was read in the same turn
        os.read(timer, 8)


def _timer() -> int | None:
    """The descriptor of a timer that rings at each full millisecond of the clock that libuv reads; None if there cannot be one."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        timer: int = library.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    except (AttributeError, OSError):  # not Linux
        return None
    if timer < 0:
        return None
    first = (time.monotonic_ns() // EVERY_NS + 1) * EVERY_NS
    times = _Times(0, EVERY_NS, *divmod(first, 1_000_000_000))
    if library.timerfd_settime(timer, _ABSOLUTE, ctypes.byref(times), None) != 0:
        os.close(timer)
        return None
    return timer
