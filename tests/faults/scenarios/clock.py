"""The services' clocks are minutes apart, and are set while they run: nothing changes, since Redis' clock decides.

One service of each kind has the right time, the others are up to eleven minutes off; in the middle all of those jump by ten minutes
forwards, then back. Jobs run once, delays and ``run_at`` end by the server's clock, ticks start one job each, leases hold,
and a day that begins for some of them does not lose rows: in a second step the clocks are off by about a day, across
midnight and beyond.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping

from faultkit.checker import Verdict
from faultkit.clockshift import ShiftedClock, can_shift, compile_shim
from faultkit.history import Event, Log, read_history
from faultkit.load import Client, loaded
from faultkit.remains import half_done
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import Stand, open_stand, until
from faultkit.ticking import ticking

__all__ = ["SCENARIO"]

NAME = "clock"
MINUTE = 60.0
DAY = 24 * 60 * MINUTE
APART = {"submitter": 11 * MINUTE, "worker": 7 * MINUTE, "scheduler": -5 * MINUTE}
ACROSS_MIDNIGHT = {"submitter": -DAY, "worker": DAY, "scheduler": DAY - 1}
STEP = 10 * MINUTE
LONG = 0.5
"""Scale from which on both steps are done; a shorter run does the first."""
AHEAD = 3.0
"""Seconds until the ``run_at`` of jobs that have one."""


def _run(scale: float) -> list[Result]:
    if not can_shift():
        return [Result(NAME, "left out: no C compiler on Linux", [], {}, 0.0)]
    results = []
    steps = [("minutes apart, and set while they run", APART), ("a day apart", ACROSS_MIDNIGHT)]
    for step, shifts in steps if scale >= LONG else steps[:1]:
        began = time.monotonic()
        verdict = _apart(scale, shifts)
        results.append(Result(NAME, step, verdict.violations, verdict.figures, time.monotonic() - began))
    return results


def _apart(scale: float, shifts: Mapping[str, float]) -> Verdict:
    with open_stand() as stand:
        clocks = _start(stand, shifts)
        with loaded(stand, 4, seed=83), ticking(stand, 0.5) as ticks:
            punctual = _at_a_time(stand)
            for step in (0.0, STEP, -STEP):
                for kind, clock in clocks.items():
                    clock.set(shifts[kind] + step)
                stand.log.note("fault", text=f"clock set by {step:g} s", target="clocks of all but the first of each kind")
                time.sleep(max(1.5, 20 * scale))
            for job in punctual:
                until(f"{job} has started", lambda job=job: _start_of(stand, job), 60, pause=0.3)  # type: ignore[misc]
        # Attempts' times are those of the worker's own clock.
        verdict = settle(stand, skip=["times"])
        verdict.violations += [*_early(stand, punctual), *half_done(stand.redis_url), *_health(stand)]
        workers = {event.who for event in read_history(stand.history) if event.kind == "start"}
        if len(workers) < len(stand.of("worker")):
            verdict.violations.append("the fault did not happen: a worker ran nothing")
        if any(clock.settings["CLOCKFILE"] not in _maps(service.pid) for kind, clock in clocks.items() for service in stand.of(kind)[1:]):
            verdict.violations.append("the fault did not happen: a service has the right time")
        if not _off(stand, abs(shifts["worker"]) / 2):
            verdict.violations.append("the fault did not happen: no attempt has a time that is off")
    verdict.figures |= {"with run_at": len(punctual), "schedules": len(ticks)}
    return verdict


def _start(stand: Stand, shifts: Mapping[str, float]) -> dict[str, ShiftedClock]:
    """Two services of each kind; the second one has a clock that is off."""
    library = compile_shim(stand.folder)
    clocks = {kind: ShiftedClock(library, stand.folder / f"clock-{kind}", seconds) for kind, seconds in shifts.items()}
    for kind, clock in clocks.items():
        stand.add(kind).start()
        stand.add(kind, **clock.settings).start()
    stand.wait_ready()
    return clocks


def _maps(pid: int) -> str:
    with open(f"/proc/{pid}/maps") as file:
        return file.read()


def _off(stand: Stand, seconds: float) -> bool:
    """Whether the worker's clock shows: an attempt began so long before its job was submitted, or after."""
    return any(
        abs(attempt["started"] / 1000 - row["submitted_at"].timestamp()) > seconds
        for row in stand.rows()
        for attempt in row["attempts"]
        if attempt.get("started")
    )


def _at_a_time(stand: Stand) -> dict[str, int]:
    """Submit jobs with a ``run_at`` through every submitter; the moment (monotonic ns) before which each must not start."""
    found = {}
    for number, service in enumerate(stand.of("submitter")):
        log = Log(stand.history, f"client punctual {number}")
        client = Client(f"http://{service.address}", log)
        for _ in range(5):
            earliest = time.monotonic_ns() + round(AHEAD * 1e9)  # first: who is held up between the two asks for a later moment
            moment = time.time() + AHEAD
            text = datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat()
            job = client.submit({}, run_at=text)
            if job is not None:
                found[job] = earliest
        log.close()
    return found


def _start_of(stand: Stand, job: str) -> Event | None:
    return next((event for event in read_history(stand.history) if event.kind == "start" and event.job == job), None)


def _early(stand: Stand, punctual: Mapping[str, int]) -> list[str]:
    """Jobs that started before their time, or minutes after it."""
    found = [] if punctual else ["no job with run_at was accepted"]
    for job, earliest in punctual.items():
        start = _start_of(stand, job)
        if start is None:
            found.append(f"{job}: has never started")
        elif start.at < earliest - 50_000_000 or start.at > earliest + 60_000_000_000:
            found.append(f"{job}: started {(start.at - earliest) / 1e9:.3f} s after its run_at")
    return found


def _health(stand: Stand) -> list[str]:
    """Services that a clock has made unready."""
    try:
        stand.wait_ready()
    except AssertionError as error:
        return [str(error)]
    return [f"{service.name} has ended" for service in stand.services.values() if not service.alive()]


SCENARIO = Scenario(NAME, _run)
