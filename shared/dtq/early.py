"""What a service does first, before it loads its modules, which takes seconds on a busy machine."""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["end_on_sigterm"]


def end_on_sigterm() -> None:
    """Let SIGTERM end the process at once, until the service has a handler of its own.

    As process 1 of a container it would ignore the signal: told to stop while it starts, it would go on, take jobs, and be killed in the
    midst of them when the pod's grace period is over.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)  # nothing is under way yet that would have to be ended in order
