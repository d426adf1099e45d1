"""Crash points: SIGKILL of worker, submitter and scheduler before, during and after each dealing with Redis and PostgreSQL.

A first walk (faultkit.crashparts) records which steps each service has, and which part of the walk meets them. Then for each
step and place (see faultkit.crashing) a service is told to crash there, the part is walked until it has, it is started again,
and when everything has come to rest the history is checked.
"""

from __future__ import annotations

import contextlib
import queue
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from faultkit.crashing import PLACES, script_names
from faultkit.crashlane import SETTINGS, Crash, Died, Lane, Walker, open_lanes
from faultkit.crashparts import PARTS, Part
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import KINDS, until

__all__ = ["SCENARIO"]

NAME = "crashpoints"
LANES = 6
"""Cases tried at once: most of their time is waiting, for a lease to end or for the sweeper."""
SHORT_LANES = 4
SEED = 5

LEFT_OUT = {
    r"CLIENT .*|SELECT|AUTH|HELLO": "redis-py says so when it connects, before any command of a service",
    r"SQL (?!insert).* \(prepare\)": "psycopg prepares it when a connection has used it so often that a case would take minutes",
    r"SQL DEALLOCATE.*": "psycopg does so after a change of the schema if it happens to have prepared a statement on that connection",
    r"SCRIPT LOAD": "only if the server has forgotten the look-up script and nobody else has sent it again yet; it changes nothing",
}
"""Patterns of steps that are met, but at which no crash is tried, and why."""

UNREACHED: dict[tuple[str, str], str] = {}
"""(kind or "", step) of steps that no walk reaches, and why."""

TURNS = 8
"""How often a part is walked for a crash to happen."""

ONCE = {("scheduler", "script outbox_age")}
"""Steps that come a second time only now and then."""

EVERYWHERE = {
    "worker": ("script claim", "script finish"),
    "submitter": ("script submit", "script cancel"),
    "scheduler": ("script fire", "script reclaim", "script promote"),
}
"""Steps that do something else in each part of the walk: a crash is tried at "sent" in every part made for their service."""

_SWEEP = ("TIME", "XRANGE outbox", "XDEL outbox", "SQL insert", "SQL insert (prepare)", "SQL ensure_days")
BEST = {
    ("worker", "script retract"): "crowded",
    ("scheduler", "script outbox_age"): "start of the scheduler",
    **{("scheduler", step): "results left" for step in _SWEEP},
}
"""Parts in which a step is tried though an earlier one meets it now and then."""

SHORT = {
    "worker": {
        "single": ("script claim", "script finish", "script renew", "XDEL outbox", "SQL insert", "BLPOP box"),
        "crowded": ("script retract",),
        "leave": ("script leave",),
    },
    "submitter": {
        "single": ("script submit", "SET idem"),
        "again": ("script lookup",),
        "cancel waiting": ("script cancel", "script resume"),
        "retry by hand": ("script replay",),
        "schedules": ("script fire", "script schedules put", "script schedules delete"),
    },
    "scheduler": {
        "dead worker": ("script reclaim",),
        "ticks": ("script fire", "script schedules advance"),
    },
}
"""What the short run tries, each at "sent" only: every script of worker and submitter that changes a job, and the scheduler's main ones."""


class Case(NamedTuple):
    """One crash to be tried, in one part of the walk. ``standby``: another worker runs beside the one that crashes."""

    kind: str
    crash: Crash
    part: Part
    standby: bool = False


@dataclass
class Found:
    """What the cases of one step have shown."""

    violations: list[str] = field(default_factory=list)
    cases: int = 0
    executions: int = 0
    again: int = 0
    seconds: float = 0.0


def _run(scale: float) -> list[Result]:
    began = time.monotonic()
    with open_lanes(LANES if scale >= 0.5 else SHORT_LANES) as lanes:
        _in_each(lanes, _start)
        if scale < 0.5:
            cases, recorded = _short_cases(), {}
        else:
            recorded = _record(lanes)
            cases = _cases(recorded, max(1, round(scale)))
        found = _try_all(lanes, cases)
        results = [
            Result(NAME, f"{kind}: {step}", one.violations, _figures(one), one.seconds) for (kind, step), one in sorted(found.items())
        ]
        if recorded:
            results.insert(0, _enumeration(lanes, recorded, len(cases), time.monotonic() - began))
    return results


def _figures(one: Found) -> dict[str, Any]:
    return {"cases": one.cases, "executions": one.executions, "executed again": one.again}


def _start(lane: Lane) -> None:
    for kind in KINDS:
        lane.tell(kind)
        lane.start(kind)
    lane.stand.wait_ready()


def _in_each(lanes: list[Lane], what: Any) -> None:
    """Run ``what(lane)`` in a thread for each; raises what one of them raises."""
    errors: list[BaseException] = []

    def run(lane: Lane) -> None:
        try:
            what(lane)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # the stand is not closed under those who still use it
        for thread in threads:
            thread.join()
    for error in errors:
        raise error


# ---------------------------------------------------------------------- which steps there are


def _record(lanes: list[Lane]) -> dict[tuple[str, str], dict[str, int]]:
    """(kind, step) to the parts that meet it, and how often they do at least."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    todo: queue.SimpleQueue[Part] = queue.SimpleQueue()
    for part in PARTS:
        todo.put(part)

    def walk(lane: Lane) -> None:
        for part in _left(todo):
            epochs = {kind: lane.tell(kind) for kind in KINDS}
            with contextlib.closing(Walker(lane, f"l{lanes.index(lane)}r{PARTS.index(part)}", None)) as walker:
                if part.restart is not None:
                    lane.service(part.restart).kill()
                    if part.prepare is not None:
                        part.prepare(walker)
                    lane.start(part.restart)
                part.walk(walker)
                walker.recover()
            lane.stand.wait_ready()
            for kind, epoch in epochs.items():
                for step, count in lane.steps(kind, epoch).items():
                    found.setdefault((kind, step), {})[part.name] = count

    _in_each(lanes, walk)
    return found


def _left(todo: queue.SimpleQueue[Any]) -> Iterator[Any]:
    while True:
        try:
            yield todo.get_nowait()
        except queue.Empty:
            return


def _first_part(kind: str, step: str, parts: dict[str, int]) -> Part:
    meeting = [part for part in PARTS if part.name in parts]
    best = [part for part in meeting if part.name == BEST.get((kind, step))]
    return next((part for part in best + meeting if kind in part.kinds), meeting[0])


def _wanted(step: str) -> bool:
    return not any(re.fullmatch(pattern, step) for pattern in LEFT_OUT)


def _cases(recorded: dict[tuple[str, str], dict[str, int]], rounds: int) -> list[Case]:
    """Each step at each place, and once at a later time where it comes again; in further rounds later times at all places."""
    choice = random.Random(SEED)
    cases: list[Case] = []
    for (kind, step), parts in sorted(recorded.items()):
        if not _wanted(step):
            continue
        part = _first_part(kind, step, parts)
        cases += [Case(kind, Crash(step, place), part) for place in PLACES]
        if step in EVERYWHERE[kind]:
            others = [other for other in PARTS if other.name in parts and kind in other.kinds and other is not part]
            cases += [Case(kind, Crash(step, "sent"), other) for other in others]
        count = parts[part.name]
        if count > 1 and (kind, step) not in ONCE:
            places = [choice.choice(PLACES), *PLACES * (rounds - 1)]
            cases += [Case(kind, Crash(step, place, choice.randint(2, count)), part, standby=kind == "worker") for place in places]
    return cases


def _short_cases() -> list[Case]:
    parts = {part.name: part for part in PARTS}
    return [Case(kind, Crash(step, "sent"), parts[name]) for kind, some in SHORT.items() for name, steps in some.items() for step in steps]


def _enumeration(lanes: list[Lane], recorded: dict[tuple[str, str], dict[str, int]], cases: int, seconds: float) -> Result:
    """Whether every script there is was met by some service, and every step met at any time was tried."""
    met = {(kind, step) for lane in lanes for kind in KINDS for step in lane.steps(kind)} | set(recorded)
    scripts = {f"script {name}" for name in script_names().values()}
    violations = [
        f"{step}: no service comes to it in the walk" for step in sorted(scripts - {step for _, step in met}) if ("", step) not in UNREACHED
    ]
    violations += [
        f"{kind}: {step} was met, but not in the first walk, so that no crash was tried there"
        for kind, step in sorted(met - set(recorded))
        if _wanted(step) and (kind, step) not in UNREACHED
    ]
    tried = [key for key in recorded if _wanted(key[1])]
    figures = {
        "steps": len(tried),
        "scripts": len(scripts),
        "cases": cases,
        "left out": LEFT_OUT,
        "not reached": {f"{kind} {step}".strip(): why for (kind, step), why in UNREACHED.items()},
    }
    return Result(NAME, "all steps", violations, figures, seconds)


# ---------------------------------------------------------------------- one crash


def _try_all(lanes: list[Lane], cases: list[Case]) -> dict[tuple[str, str], Found]:
    found: dict[tuple[str, str], Found] = {(case.kind, case.crash.step): Found() for case in cases}
    todo: queue.SimpleQueue[tuple[int, Case]] = queue.SimpleQueue()
    for numbered in enumerate(sorted(cases, key=lambda case: case.standby)):  # a standby that is started stays
        todo.put(numbered)
    lock = threading.Lock()

    def go(lane: Lane) -> None:
        for number, case in _left(todo):
            one = _try(lane, case, f"l{lanes.index(lane)}c{number}")
            with lock:
                total = found[case.kind, case.crash.step]
                total.violations += one.violations
                total.cases += 1
                total.executions += one.executions
                total.again += one.again
                total.seconds += one.seconds

    _in_each(lanes, go)
    return found


def _try(lane: Lane, case: Case, name: str) -> Found:
    began = time.monotonic()
    found = Found()
    with contextlib.closing(Walker(lane, name, case.kind)) as walker:
        for step in (_prepare, _crash, _recover, _afterwards):
            try:
                step(lane, case, walker, found)
            except Exception as error:  # noqa: BLE001 - the other cases are tried all the same
                found.violations.append(str(error) if isinstance(error, AssertionError) else f"broke off: {error!r}")
    found.seconds = time.monotonic() - began
    where = f"{case.crash.place}, time {case.crash.nth}, in {case.part.name!r}"
    found.violations = [f"{where}: {violation}" for violation in found.violations]
    return found


def _prepare(lane: Lane, case: Case, walker: Walker, found: Found) -> None:
    """Everything runs."""
    if case.standby and len(lane.stand.of("worker")) < 2:
        lane.stand.add("worker", **SETTINGS).start()
    lane.stand.wait_ready()


def _recover(lane: Lane, case: Case, walker: Walker, found: Found) -> None:
    """See that the service died where it should, and start it again. With a standby, its jobs may have gone on already."""
    if not lane.crashed(case.kind, case.crash):
        found.violations.append(f"the fault did not happen: {case.kind} did not die there in the part {case.part.name!r}")
    lane.tell(case.kind)
    for kind in KINDS:
        lane.start(kind)
    walker.recover()


def _crash(lane: Lane, case: Case, walker: Walker, found: Found) -> None:
    """Walk the part until the service has died. What it does only once in its life comes again when it is started anew."""
    victim = lane.service(case.kind)
    walker.armed = case.crash
    if case.part.restart is None and not case.part.arms:
        walker.arm()
    for turn in range(TURNS):
        if case.part.restart is not None or (turn and case.crash.nth == 1 and not case.part.arms):
            victim.kill()
            if case.part.prepare is not None:
                case.part.prepare(walker)
            walker.armed = case.crash
            walker.arm()
            lane.start(case.kind)
        try:
            if turn:
                walker.until(f"{case.kind} is ready", victim.ready)
            case.part.walk(walker)
        except Died:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            if victim.popen is not None:  # what the part waited for may be seen by us before the end is
                victim.popen.wait(0.2)
                break
    with contextlib.suppress(subprocess.TimeoutExpired):
        if victim.popen is not None:
            victim.popen.wait(1.0)


def _afterwards(lane: Lane, case: Case, walker: Walker, found: Found) -> None:
    """What is wrong when everything has come to rest, and how often jobs were executed."""
    found.violations += walker.violations
    if walker.gone:
        with contextlib.suppress(AssertionError):
            until("retention has gone on", lambda: all(walker.row(job) is None for job in walker.gone), 30)
        found.violations += [f"{job}: past retention, and still there" for job in walker.gone if walker.row(job)]
        found.violations += [f"{job}: taken by retention, though it finished lately" for job in walker.kept if not walker.row(job)]
    verdict = settle(lane.stand, 90)
    found.violations += [violation for violation in verdict.violations if violation not in lane.known]
    found.executions = verdict.figures["executions"] - lane.figures.get("executions", 0)
    found.again = verdict.figures["executed again"] - lane.figures.get("executed again", 0)
    lane.known.update(verdict.violations)
    lane.figures = verdict.figures


SCENARIO = Scenario(NAME, _run)
