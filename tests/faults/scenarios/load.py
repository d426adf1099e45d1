"""The mixed load without any fault: what the other scenarios are compared with."""

from __future__ import annotations

import time

from faultkit.load import loaded
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import open_stand

__all__ = ["SCENARIO"]


def _run(scale: float) -> list[Result]:
    began = time.monotonic()
    with open_stand() as stand:
        stand.start(workers=2)
        with loaded(stand, 4, seed=1):
            time.sleep(20 * scale)
        verdict = settle(stand)
    return [Result("load", "no fault", verdict.violations, verdict.figures, time.monotonic() - began)]


SCENARIO = Scenario("load", _run)
