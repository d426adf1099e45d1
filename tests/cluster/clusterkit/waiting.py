"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from clusterkit.kubectl import Kubectl

__all__ = ["wait_for"]

T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], *, seconds: float = 60, every: float = 0.5, kubectl: Kubectl | None = None) -> T:
    """Ask ``probe`` until its answer is true, and return that; AssertionError ``not in time: <what>`` with the namespace's state."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            state = kubectl.report() if kubectl else ""
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last answer: {answer!r}\n{state}")
        time.sleep(every)
