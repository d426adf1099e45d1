"""From kill -9 of a worker to its jobs running elsewhere; and workers that live, however busy, are never taken for dead.

All with default settings of leases. The history decides: a job has been taken over when its handler starts on another worker.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from faultkit.history import Event, Log, read_history
from faultkit.load import Client, Json, loaded
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import Stand, open_stand, until
from faultkit.takeover import Takeover, most_at_once, percentiles, running_at, takeovers, twice_started

__all__ = ["SCENARIO"]

NAME = "recovery"
WORKERS = 4
KILLS = 60
FEWEST_KILLS = 4
EVERY = 2.0
"""Seconds between kills: a job is seldom hit twice."""
ROOM = 8
"""Processes for handlers of each worker: what is measured is the taking over, not the wait for a process that is busy."""
SLOTS = 1000
LEASE = 4.0
"""Default of LEASESECONDS."""
HOLD = 3.0
"""Seconds for which a handler keeps the interpreter."""


# ---------------------------------------------------------------- killed


def _plan(choice: random.Random) -> tuple[Json, Json]:
    return {"seconds": choice.uniform(0.5, 2.5)}, {"type": choice.choices(["task", "task_pool"], [12, 1])[0]}


def _killed(scale: float) -> Result:
    began = time.monotonic()
    kills: list[tuple[int, int]] = []
    with open_stand() as stand:
        stand.start(workers=WORKERS, PROCESSES=ROOM)
        with loaded(stand, 3, seed=11, pause=0.2, plan=_plan, meddle=False):
            until("every worker runs a job", lambda: _all_run(stand), 60)
            choice = random.Random(12)  # at random: kills in step with recovery would hit the same jobs again and again
            for _ in range(max(FEWEST_KILLS, round(KILLS * scale))):
                worker = choice.choice(stand.of("worker"))
                until("it runs a job", partial(_runs_now, stand, worker.pid))
                pid, at = worker.pid, time.monotonic_ns()
                worker.kill()
                kills.append((pid, at))
                worker.start()
                time.sleep(choice.uniform(0.5, 1.5) * EVERY)
        verdict = settle(stand)
        history, rows = read_history(stand.history), {str(row["id"]): row for row in stand.rows()}
    found = [takeovers(history, pid, at, rows) for pid, at in kills]
    violations = verdict.violations + [f"{job}: never ran again" for job in _forgotten(found, rows, history)]
    hits = [some for some in found if some]
    if len(hits) < len(kills) / 2:
        violations.append(f"the fault did not happen: only {len(hits)} of {len(kills)} kills hit a running job")
    return Result(NAME, "kill -9", violations, verdict.figures | _times(hits), time.monotonic() - began)


def _runs(stand: Stand, pid: int) -> bool:
    """Whether it has run a job: a worker that is killed before it serves takes nothing with it."""
    return any(event.kind == "start" and event.pid == pid for event in read_history(stand.history))


def _runs_now(stand: Stand, pid: int) -> bool:
    """Whether it runs a job at this moment."""
    return bool(running_at(read_history(stand.history), pid, time.monotonic_ns()))


def _all_run(stand: Stand) -> bool:
    return all(_runs(stand, service.pid) for service in stand.of("worker"))


def _forgotten(found: list[list[Takeover]], rows: dict[str, dict[str, Any]], history: list[Event]) -> list[str]:
    """Jobs that did not start again, though their worker had not died under them so often that they had to fail.

    One that ended by itself, between the moment noted and the kill, need not start again; that it has its row is checked of all.
    """
    ended = {(event.job, event.pid) for event in history if event.kind == "end"}
    silent = [one.job for some in found for one in some if one.seconds is None and (one.job, one.pid) not in ended]
    return [job for job in silent if (rows.get(job, {}).get("error") or {}).get("kind") != "worker_lost"]


def _times(hits: list[list[Takeover]]) -> Json:
    """Per job on the event loop and in processes, and per kill (until the last of its jobs on event loops runs).

    A job whose next worker was killed as well, before it could start, waited for two recoveries: it is counted apart.
    """
    every = [takeover for some in hits for takeover in some if takeover.seconds is not None]
    once = [[one for one in some if one.seconds is not None and not one.again] for some in hits]
    found: Json = {"kills": len(hits), "jobs taken over": len(every), "hit again": sum(one.again for one in every)}
    for name, values in (
        ("async", [one.seconds or 0.0 for some in once for one in some if not one.pool]),
        ("in a process", [one.seconds or 0.0 for some in once for one in some if one.pool]),
        (
            "last async of a kill",
            [max(one.seconds or 0.0 for one in some if not one.pool) for some in once if any(not o.pool for o in some)],
        ),
    ):
        found |= {f"{name}, {percentile} s": round(value, 3) for percentile, value in percentiles(values).items()}
    return found


# ---------------------------------------------------------------- alive


class Busy(NamedTuple):
    """A worker with a queue of its own: its settings, what it runs, and what must be seen of it, else it was not so busy."""

    queue: str
    what: str
    settings: dict[str, object]
    jobs: list[tuple[Json, Json]]
    seen: Callable[[list[Event]], str]
    """What is missing, "" if nothing."""


def _at_once(count: int) -> Callable[[list[Event]], str]:
    def judged(events: list[Event]) -> str:
        most = most_at_once(events)
        return "" if most >= count else f"only {most} of {count} jobs ran at once"

    return judged


def _lasted(seconds: float) -> Callable[[list[Event]], str]:
    def judged(events: list[Event]) -> str:
        took = (events[-1].at - events[0].at) / 1e9 if events else 0.0
        return "" if took >= seconds else f"it was busy for {took:.1f} s, not {seconds:.1f}"

    return judged


def _busy(scale: float) -> list[Busy]:
    long = max(2.5 * LEASE, 30 * scale)
    rounds = max(1, round(3 * scale))
    patient = {"timeout": 300}
    hold: Json = {"seconds": HOLD, "hold": True}
    spin: Json = {"seconds": HOLD, "spin": True}
    pool = {"type": "task_pool", **patient}
    return [
        Busy("long", f"a job of {long:g} s", {}, [({"seconds": long}, patient)] * 3 + [({"seconds": long}, pool)], _lasted(long)),
        Busy("hold", "handlers hold the interpreter for 3 s, one after the other", {}, [(hold, patient)] * (3 * rounds), _lasted(3 * HOLD)),
        Busy("holdpool", "the same in its processes", {}, [(hold, pool)] * (4 * rounds), _lasted(HOLD)),
        Busy("spin", "handlers compute on the event loop for 3 s", {}, [(spin, patient)] * (3 * rounds), _lasted(3 * HOLD)),
        Busy("slots", f"{SLOTS} slots, all busy", {"WORKERCOUNT": SLOTS}, [({"seconds": long}, patient)] * SLOTS, _at_once(SLOTS)),
        Busy("cores", "every core computes", {"PROCESSES": 2}, [(spin, pool)] * (6 * rounds), _at_once(2)),
    ]


def _alive(scale: float) -> list[Result]:
    began = time.monotonic()
    every = _busy(scale)
    with open_stand() as stand:
        for kind in ("submitter", "scheduler"):
            stand.add(kind).start()
        workers = {busy.queue: stand.add("worker", QUEUES=busy.queue, **busy.settings).start() for busy in every}
        stand.wait_ready()
        log = Log(stand.history, "client busy")
        client = Client(stand.url, log, timeout=60)
        for busy in every:
            _submit(client, log, busy)
        verdict = settle(stand, 120 + 60 * scale)
        history, rows = read_history(stand.history), stand.rows()
        ended = [queue for queue, worker in workers.items() if not worker.alive()]
        log.close()
    results = [Result(NAME, "alive: at the end", verdict.violations, verdict.figures, time.monotonic() - began)]
    for busy in every:
        own = [row for row in rows if row["queue"] == busy.queue]
        ids = {str(row["id"]) for row in own}
        events = [event for event in history if event.job in ids and event.kind in ("start", "end")]
        violations = twice_started(events, own)
        if missing := busy.seen(events):
            violations.append(f"the fault did not happen: {missing}")
        if busy.queue in ended:
            violations.append("its worker has ended")
        results.append(Result(NAME, f"alive: {busy.what}", violations, {"jobs": len(own), **_span(events)}, _span(events)["seconds"]))
    return results


def _submit(client: Client, log: Log, busy: Busy) -> None:
    """All of its jobs in one call, so that they start together."""
    jobs = []
    for number, (plan, fields) in enumerate(busy.jobs):
        tag = f"{busy.queue}-{number}"
        asked = {"queue": busy.queue, **fields}
        log.note("sent", tag=tag, key=tag, plan=plan, fields=asked)
        jobs.append({"type": "task", "payload": {**plan, "tag": tag}, "idempotency_key": tag, **asked})

    def taken() -> list[Json]:
        status, answer = client.call("POST", "/submit/batch", {"jobs": jobs})
        return list(answer["jobs"]) if status in (200, 202) else []

    for number, job in enumerate(until(f"the jobs of {busy.queue} are taken", taken)):
        log.note("accepted", tag=f"{busy.queue}-{number}", job=job["id"], status=202)


def _span(events: list[Event]) -> dict[str, float]:
    return {"seconds": round((events[-1].at - events[0].at) / 1e9, 1) if events else 0.0}


def _run(scale: float) -> list[Result]:
    return [_killed(scale), *_alive(scale)]


SCENARIO = Scenario(NAME, _run)
