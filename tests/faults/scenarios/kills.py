"""Random kills: a mixed load, while everything is killed with -9 and started again, one by one, two at once, all at once.

The seed is printed and stands in the report; KILLSEED=N repeats its kills and its load.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from typing import Any

from faultkit.checker import Verdict
from faultkit.killing import SERVERS, Killer, leftovers, strokes
from faultkit.load import Client, Json, loaded, mixed_plan
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import Stand, open_stand, until
from faultkit.ticking import ticking

__all__ = ["SCENARIO"]

NAME = "kills"
KILLS = 220
"""At scale 1; at least 20 are made."""
CLIENTS = 6
PAUSE = 0.05
"""Seconds between the submissions of one client: the history must fit into memory."""
MINUTELY = 3
"""Schedules that tick each minute, beside those that are due at once."""


def _plan(choice: random.Random) -> tuple[Json, Json]:
    """The mixed load, with some jobs that run for so long that kills hit them."""
    plan, fields = mixed_plan(choice)
    if choice.random() < 0.08:
        plan, fields = {"seconds": choice.uniform(0.5, 3.0)}, {key: fields[key] for key in ("type", "queue", "priority")}
    return plan, fields


def _schedule(client: Client, name: str) -> None:
    template = {"type": "task", "payload": {"tag": name, "seconds": 0.2}, "queue": "other"}
    status, answer = client.call("PUT", f"/schedules/{name}", {"schedule": "* * * * *", "jobTemplate": template})
    assert status in (200, 201), answer


def _run(scale: float) -> list[Result]:
    began = time.monotonic()
    seed = int(os.environ.get("KILLSEED") or random.SystemRandom().randrange(10**6))
    print(f"kills: KILLSEED={seed}", file=sys.stderr, flush=True)  # seen also when it runs beside other scenarios
    wanted = max(20, round(KILLS * scale))
    with open_stand() as stand:
        stand.start(submitters=2, workers=3, schedulers=2, WORKERCOUNT=8)
        killer = Killer(stand)
        plan = strokes(seed, [*SERVERS, *stand.services], wanted)
        with loaded(stand, CLIENTS, seed=seed, pause=PAUSE, plan=_plan) as clients, ticking(stand) as due:
            for number in range(MINUTELY):
                _schedule(clients[0], f"minutely-{number}")
            for stroke in plan:
                killer.strike(stroke)
            killer.revive()
        struck = time.monotonic()
        missing = _await_ticks(stand, due)
        verdict = settle(stand, 180)
        rested = time.monotonic() - struck
        verdict.violations += killer.fallen() + missing + _uneven(stand, due) + _faults(killer, stand, wanted) + _left_behind(stand)
    figures = _figures(verdict, killer, due) | {"seed": seed, "seconds to rest": rested}
    return [Result(NAME, "random kills", verdict.violations, figures, time.monotonic() - began)]


def _ticks(stand: Stand) -> Counter[str]:
    return Counter(row["schedule"] for row in stand.rows() if row["schedule"])


def _await_ticks(stand: Stand, due: list[str]) -> list[str]:
    """Every schedule that was stored, and was due, has started its job (docs/adr/0006)."""
    try:
        until("every schedule that was due has run", lambda: set(due) <= set(_ticks(stand)), 60, pause=0.3)
    except AssertionError:
        return [f"{name}: was due, and has not run" for name in sorted(set(due) - set(_ticks(stand)))]
    return []


def _uneven(stand: Stand, due: list[str]) -> list[str]:
    counts = _ticks(stand)
    return [f"{name}: was due once, and ran {counts[name]} times" for name in due if counts[name] > 1]


def _faults(killer: Killer, stand: Stand, wanted: int) -> list[str]:
    """What should have been done, and was not."""
    spared = [name for name in (*SERVERS, *stand.services) if not killer.kills[name]]
    few = sum(killer.kills.values()) < wanted
    return [f"the fault did not happen: {name} was never killed" for name in spared] + (
        [f"the fault did not happen: {sum(killer.kills.values())} kills of {wanted}"] if few else []
    )


def _left_behind(stand: Stand) -> list[str]:
    """Processes that outlive their worker's death: nobody would time their handlers out."""
    for service in stand.services.values():
        service.end()
    try:
        until("all processes have ended", lambda: not leftovers(stand.history), 15)
    except AssertionError:
        return [f"left behind: {process}" for process in leftovers(stand.history)]
    return []


def _figures(verdict: Verdict, killer: Killer, due: list[str]) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    for name, count in killer.kills.items():
        kinds[name.partition("-")[0]] += count
    return verdict.figures | {
        "kills": sum(kinds.values()),
        **{f"kills of {kind}": kinds[kind] for kind in sorted(kinds)},
        "kills while starting": killer.starting,
        "schedules due": len(due),
        "ended by themselves": dict(killer.gave_up),
    }


SCENARIO = Scenario(NAME, _run)
