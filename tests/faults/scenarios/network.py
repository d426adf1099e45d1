"""Bad networks: each service's way to each server made bad in each way, all ways at random, and replies that get lost."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

from faultkit.history import Event, Log, read_history
from faultkit.load import Client, Json, loaded, mixed_plan
from faultkit.lostreplies import CASES, Lost
from faultkit.proxy import PASS, Kind, Mode
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import KINDS, until
from faultkit.takeover import running_at, takeovers
from faultkit.wired import SERVERS, Wired, link, open_wired

__all__ = ["SCENARIO"]

NAME = "network"
LONGEST = 150.0
"""Seconds within which a service must go on: a call to PostgreSQL that nothing answers is given up after 60."""
LASTING = ("stall", "black_hole", "mute")
"""Modes that last longer than a lease."""
LONG = 4.0
"""Seconds of the longest jobs: about a lease."""
AT_ONCE = 3
"""Stands at once in the long run: they mostly wait."""
QUICK: list[tuple[str, str, Kind]] = [
    ("worker", "redis", "black_hole"),
    ("worker", "redis", "cut_mid_reply"),
    ("worker", "postgres", "refuse"),
    ("submitter", "redis", "mute"),
    ("submitter", "redis", "cut"),
    ("scheduler", "redis", "stall"),
]
"""What the short run does."""


FELT: dict[Kind, str] = {
    "delay": "delayed",
    "throttle": "throttled",
    "cut": "cut",
    "cut_mid_reply": "cut",
    "reset": "reset",
    "stall": "stalled",
    "black_hole": "swallowed",
    "mute": "swallowed",
}
"""What a link counts (Link.counts) when a mode has had an effect. Who is refused is not counted: it has no connection."""


class Reads:
    """A client that lists jobs, which PostgreSQL answers, until the block is left."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self.seen: list[tuple[int, int]] = []
        """When (ns) which status came; 0: no answer."""

    def run(self) -> None:
        while not self._stop.wait(0.1):
            status = 0
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                status = self._client.call("GET", "/jobs?state=succeeded&limit=3")[0]
            self.seen.append((time.monotonic_ns(), status))

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def _reading(wired: Wired) -> Iterator[Reads]:
    log = Log(wired.stand.history, "client reader")
    reads = Reads(Client(wired.stand.url, log, timeout=5))
    thread = threading.Thread(target=reads.run, daemon=True)
    thread.start()
    try:
        yield reads
    finally:
        reads.stop()
        thread.join()
        log.close()


def _plan(choice: random.Random) -> tuple[Json, Json]:
    plan, fields = mixed_plan(choice)
    return ({"seconds": LONG}, fields) if choice.random() < 0.1 and "kind" not in plan else (plan, fields)


# ---------------------------------------------------------------- one way at a time


class Step:
    """One mode on the way of the first service of a kind to a server, under load."""

    def __init__(self, wired: Wired, reads: Reads, kind: str, server: str, mode: Kind, seconds: float) -> None:
        self._wired = wired
        self._reads = reads
        self._kind = kind
        self._server = server
        self._mode = mode
        self._seconds = seconds
        self._service = wired.stand.of(kind)[0]
        self._link = link(self._service.name, server)

    def run(self) -> Result:
        """Switch the mode on and off; how the service fared, and for how long until it went on."""
        began, pids = time.monotonic(), self._pids()
        self._off = time.monotonic_ns()
        until(f"{self._service.name} is at work", self._at_work)
        before = self._wired.network.counts(self._link)
        self._on = time.monotonic_ns()
        self._wired.set_mode(self._link, Mode(self._mode))
        time.sleep(self._seconds)
        violations = self._within("the fault happens", lambda: self._happened(self._wired.network.counts(self._link) - before))
        if self._must_be_replaced():
            violations += self._within("its jobs run elsewhere", lambda: bool(self._elsewhere(read_history(self._wired.stand.history))))
        self._wired.set_mode(self._link, PASS)
        self._off = time.monotonic_ns()
        violations += self._within(f"{self._service.name} goes on", self._goes_on)
        back = (time.monotonic_ns() - self._off) / 1e9
        if self._pids() != pids:
            violations.append("a service has ended")
        history = read_history(self._wired.stand.history)
        during = [event for event in history if self._on <= event.at]
        wrong = self._statuses(during)
        violations += [f"answer {status}: {count} times" for status, count in wrong.items() if status not in (0, 503)]
        elsewhere = self._elsewhere(history)
        figures = {
            "accepted meanwhile": sum(event.kind == "accepted" and event.at < self._off for event in during),
            "answered otherwise": {str(status): count for status, count in wrong.items()} or "none",
            "seconds to going on": round(back, 2),
            "seconds to the next acceptance": round(self._acceptance(during), 2),
            "ran elsewhere": elsewhere,
        }
        return Result(NAME, f"{self._kind} > {self._server}: {self._mode}", violations, figures, time.monotonic() - began)

    def _within(self, what: str, condition: Callable[[], bool]) -> list[str]:
        try:
            until(what, condition, LONGEST, pause=0.1)
        except AssertionError as error:
            return [str(error)]
        return []

    def _pids(self) -> list[tuple[int, bool]]:
        return [(service.pid, service.alive()) for service in self._wired.stand.services.values()]

    def _must_be_replaced(self) -> bool:
        """Whether the worker's lease ends meanwhile. Under mute it does not: renewals arrive."""
        return (self._kind, self._server) == ("worker", "redis") and self._mode in ("stall", "black_hole")

    def _at_work(self) -> bool:
        """Whether it is seen to serve; a worker that is to be replaced must have something that lasts."""
        if not self._must_be_replaced():
            return self._goes_on()
        history, now = read_history(self._wired.stand.history), time.monotonic_ns()
        running = set(running_at(history, self._service.pid, now))
        long = {e.job for e in history if e.kind == "start" and now - e.at < 5e8 and e.plan.get("seconds", 0) >= LONG}
        return bool(running & long)

    def _elsewhere(self, history: list[Event]) -> int:
        """Jobs that it ran when the mode began, and that another worker ran as well."""
        if self._kind != "worker":
            return 0
        return sum(takeover.seconds is not None for takeover in takeovers(history, self._service.pid, self._on, {}))

    def _happened(self, done: Counter[str]) -> bool:
        if self._mode == "refuse":
            host, _, port = self._wired.network.address(self._link).partition(":")
            try:
                Client(f"http://{host}:{port}", self._wired.stand.log).call("GET", "/")
            except ConnectionRefusedError:
                return True
            return False
        return bool(done[FELT[self._mode]])

    def _goes_on(self) -> bool:
        if not self._service.ready():
            return False
        if self._kind == "scheduler":
            return True
        if self._kind == "submitter" and self._server == "postgres":
            return any(at > self._off and status == 200 for at, status in self._reads.seen)
        later = [event for event in read_history(self._wired.stand.history) if event.at > self._off]
        if self._kind == "submitter":
            return any(event.kind == "accepted" for event in later)
        return any(event.kind == "start" and event.pid == self._service.pid for event in later)

    def _statuses(self, during: list[Event]) -> Counter[int]:
        found = Counter(event.status for event in during if event.kind == "unanswered")
        found += Counter(event.status for event in during if event.kind == "refused")
        found += Counter(status for at, status in self._reads.seen if at >= self._on and status != 200)
        return found

    def _acceptance(self, during: list[Event]) -> float:
        return next((event.at - self._off for event in during if event.kind == "accepted" and event.at > self._off), -1) / 1e9


def _steps(wired: Wired, steps: list[tuple[str, str, Kind, float]], seed: int, name: str) -> list[Result]:
    """Steps under one load, and the check of all of it."""
    began = time.monotonic()
    results = []
    with _reading(wired) as reads, loaded(wired.stand, 3, seed=seed, pause=0.03, plan=_plan):
        for kind, server, mode, seconds in steps:
            if (kind, server) == ("scheduler", "postgres"):
                _leave_to_scheduler(wired)
            results.append(Step(wired, reads, kind, server, mode, seconds).run())
    wired.heal()
    verdict = settle(wired.stand, 180)
    return [*results, Result(NAME, f"{name}: at the end", verdict.violations, verdict.figures, time.monotonic() - began)]


def _leave_to_scheduler(wired: Wired) -> None:
    """Workers cannot store results: the scheduler does."""
    for service in wired.stand.of("worker"):
        wired.set_mode(link(service.name, "postgres"), Mode("refuse"))


def _modes(kind: str, server: str) -> list[tuple[str, str, Kind, float]]:
    modes: tuple[Kind, ...] = get_args(Kind)
    seconds = 6.0 if (kind, server) == ("scheduler", "postgres") else 2.0  # the scheduler stores what is five seconds old
    return [(kind, server, mode, 6.0 if mode in LASTING else seconds) for mode in modes if mode != "pass"]


def _way(kind: str, server: str) -> list[Result]:
    """All modes of one way; if it breaks off, the other ways are run all the same."""
    began = time.monotonic()
    name = f"{kind} > {server}"
    try:
        with open_wired() as wired:
            wired.start()
            return _steps(wired, _modes(kind, server), KINDS.index(kind) * 10 + SERVERS.index(server), name)
    except Exception as error:  # noqa: BLE001 - it is told
        return [Result(NAME, f"{name}: broke off", [f"{type(error).__name__}: {error}"], {}, time.monotonic() - began)]


# ---------------------------------------------------------------- all ways at random


def _chaos(scale: float) -> Result:
    began = time.monotonic()
    modes: tuple[Kind, ...] = get_args(Kind)
    done: Counter[Kind] = Counter()
    with open_wired() as wired:
        wired.start()
        choice = random.Random(7)
        with loaded(wired.stand, 4, seed=70, pause=0.02, plan=_plan):
            while time.monotonic() < began + 60 * scale:
                name = choice.choice(wired.network.names)
                mode = choice.choice(modes)
                wired.set_mode(name, Mode(mode, jitter_ms=choice.choice((10, 300)), reply_bytes=choice.choice((50, 5000))))
                done[mode] += 1
                time.sleep(choice.uniform(0.1, 1.5))
            wired.heal()
        felt = sum((wired.network.counts(name) for name in wired.network.names), Counter[str]())
        verdict = settle(wired.stand, 240)
        ended = [name for name, service in wired.stand.services.items() if not service.alive()]
    violations = verdict.violations + [f"{name} has ended" for name in ended]
    violations += [f"the fault did not happen: nothing was {FELT[mode]}" for mode in done if mode in FELT and not felt[FELT[mode]]]
    return Result(NAME, "all ways at random", violations, verdict.figures | {"changes": done.total()}, time.monotonic() - began)


# ---------------------------------------------------------------- lost replies


def _lost(wired: Wired, quick: bool) -> list[Result]:
    results = []
    for case in CASES:
        for after in (0,) if quick else (0, 3):
            if quick and not case.quick:
                continue
            began = time.monotonic()
            lost = Lost(wired, case.name, after)
            try:
                case.run(lost)
                lost.sprung()
            except AssertionError as error:
                lost.violations.append(str(error))
            lost.log.close()
            results.append(Result(NAME, f"reply lost: {case.name}, after {after} bytes", lost.violations, {}, time.monotonic() - began))
    verdict = settle(wired.stand)
    return [*results, Result(NAME, "reply lost: at the end", verdict.violations, verdict.figures, 0.0)]


def _all_lost() -> list[Result]:
    with open_wired() as wired:
        for kind in KINDS:
            wired.add(kind).start()
        wired.stand.wait_ready()
        return _lost(wired, quick=False)


def _short() -> list[Result]:
    """A fixed choice, on one stand."""
    with open_wired() as wired:
        wired.start(LEASESECONDS=3)  # shorter than LONG: a cut-off worker still runs the job that is given away
        seconds = {"worker": 6.0, "submitter": 1.0, "scheduler": 1.0}
        steps = [(kind, server, mode, seconds[kind] if mode in LASTING else 1.0) for kind, server, mode in QUICK]
        results = _steps(wired, steps, 3, "short")
        wired.stand.services.pop("worker-2").end()  # the traps are on the ways of the first
        return results + _lost(wired, quick=True)


def _run(scale: float) -> list[Result]:
    if scale < 1:
        return _short()
    ways = [(kind, server) for kind in KINDS for server in SERVERS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = [result for found in pool.map(lambda way: _way(*way), ways) for result in found]
    return [*results, _chaos(scale), *_all_lost()]


SCENARIO = Scenario(NAME, _run)
