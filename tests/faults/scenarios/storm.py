"""Everything at once: kills, a frozen worker, and servers that cut off, hang, are full, forget and rewrite their files, side by side.

What each of these does alone is the other scenarios' business; here they meet in every order.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import psycopg
import redis
from faultkit.checker import Verdict
from faultkit.killing import SERVERS, Killer, Stroke
from faultkit.load import loaded
from faultkit.remains import half_done
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import Stand, open_stand
from faultkit.ticking import ticking
from faultkit.troubles import TROUBLES

__all__ = ["SCENARIO"]

NAME = "storm"
SECONDS = 120.0
FEWEST_SECONDS = 12.0
PAUSES = (2.0, 8.0)
"""Seconds between two troubles of one kind, and up to."""
KILLS = (1.0, 4.0)
PATIENCE = 180.0
"""Seconds more that it lasts at most, until each trouble has happened: on a busy machine servers take long to come back."""
MORTAL = ("worker-1", "worker-2", "submitter-2", "scheduler-2", *SERVERS)
"""The last worker is the one that is frozen; one submitter and one scheduler live through everything."""


class _Troubles:
    """One thread for each kind; a server that is down just then is tried again."""

    def __init__(self, stand: Stand, seed: int) -> None:
        self._stand = stand
        self._stop = threading.Event()
        self.happened: Counter[str] = Counter()
        self.broke_off: list[str] = []
        acts = {**TROUBLES, "append-only file rewritten": _rewrite}
        self._threads = [threading.Thread(target=self._repeat, args=(name, act, seed)) for name, act in acts.items()]
        self._acts = acts

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def missing(self) -> list[str]:
        return [name for name in self._acts if not self.happened[name]]

    def wanting(self) -> bool:
        """Whether one has not happened, and still may."""
        return bool(self.missing()) and not self.broke_off

    def _repeat(self, name: str, act: Callable[[Stand], int], seed: int) -> None:
        choice = random.Random(f"{seed} {name}")
        wait = choice.uniform(0.0, PAUSES[0])
        while not self._stop.wait(wait):
            try:
                self.happened[name] += bool(act(self._stand))
            except (redis.RedisError, psycopg.Error):
                pass  # a server is down just now
            except Exception as error:  # noqa: BLE001 - told at the end: the storm would go on without this trouble
                self.broke_off.append(f"{name} broke off: {error!r}")
                return
            wait = choice.uniform(*PAUSES) if self.happened[name] else 0.1


def _rewrite(stand: Stand) -> int:
    with redis.Redis.from_url(stand.redis_url) as client:
        return int(client.bgrewriteaof())


def _run(scale: float) -> list[Result]:
    began = time.monotonic()
    seed = random.SystemRandom().randrange(10**6)
    with open_stand() as stand:
        stand.start(submitters=2, workers=3, schedulers=2)
        verdict = _storm(stand, max(FEWEST_SECONDS, SECONDS * scale), seed)
    verdict.figures["seed"] = seed
    return [Result(NAME, "all faults side by side", verdict.violations, verdict.figures, time.monotonic() - began)]


def _storm(stand: Stand, seconds: float, seed: int) -> Verdict:
    killer, troubles, choice = Killer(stand), _Troubles(stand, seed), random.Random(seed)
    with loaded(stand, 4, seed=seed), ticking(stand, 0.5):
        end = time.monotonic() + seconds
        troubles.start()
        try:
            while time.monotonic() < end or (troubles.wanting() and time.monotonic() < end + PATIENCE):
                killer.strike(Stroke((choice.choice(MORTAL),), choice.uniform(*KILLS), choice.uniform(0.1, 2.0), None))
        finally:
            troubles.stop()
        killer.revive()
    verdict = settle(stand)
    verdict.violations += half_done(stand.redis_url)
    verdict.violations += [f"the fault did not happen: {name}" for name in troubles.missing()]
    verdict.violations += troubles.broke_off
    if not killer.kills:
        verdict.violations.append("the fault did not happen: nothing was killed")
    verdict.violations += killer.fallen()
    verdict.figures |= {"kills": sum(killer.kills.values()), "other faults": troubles.happened.total()}
    return verdict


SCENARIO = Scenario(NAME, _run)
