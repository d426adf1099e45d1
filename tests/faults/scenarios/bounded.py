"""After a million jobs, all sorts of deaths and other troubles everything is as small as before: keys, streams, memory, connections, files.

The base is taken after a first wave with a tenth of the jobs and the same faults, and not before it: pools and heaps keep what
they once needed. Services that are killed are started anew, so one of each kind lives through everything.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from faultkit.checker import check
from faultkit.history import read_history
from faultkit.killing import SERVERS, Killer, Stroke
from faultkit.leaving import check_going
from faultkit.load import Client, Json, loaded
from faultkit.measure import Sizes, grown, measure
from faultkit.report import Result, Scenario
from faultkit.settle import accepted_jobs, views_of
from faultkit.stand import Stand, open_stand, until
from faultkit.ticking import ticking
from faultkit.troubles import TROUBLES

from dtq.config import Settings
from dtq.errors import QueueUnavailable
from dtq.job import NewJob
from dtq.queue import Queue

__all__ = ["SCENARIO"]

T = TypeVar("T")

NAME = "bounded"
JOBS = 1_000_000
FEWEST = 20_000
BATCH = 1000
DEPTH = 30_000
"""Jobs that wait at most, so that the run measures a steady flow."""
SETTINGS: dict[str, object] = {"RESULTTTL": 2, "DEADTTL": 2, "IDEMPOTENCYTTL": 2}
"""So that the end of everything kept for a while can be waited for."""
MORTAL = ("worker-2", "submitter-2", "scheduler-2")
AT_REST = ("dtq:{Q}:job:ID", "dtq:{Q}:delayed", "dtq:{Q}:dead", "dtq:{Q}:cancel", "dtq:{Q}:done:SLICE", "dtq:{Q}:failed:SLICE")
"""Keys of which there must be none when nothing is left to do and all times are over."""


class _Flow:
    """Submits batches straight to the queue, and keeps the ids in a file: a million of them need not be in memory."""

    def __init__(self, stand: Stand) -> None:
        self.ids = stand.folder / "accepted"
        self.accepted = 0
        self.unanswered = 0
        """Jobs of batches of which nobody knows whether they were taken."""
        self._redis_url = stand.redis_url

    async def run(self, jobs: int, seed: int) -> None:
        """Submit so many jobs; goes on when the server is away for a while."""
        choice = random.Random(seed)
        queue = await Queue.connect(Settings(redisaddr=self._redis_url, idempotencyttl=2))
        goal = self.accepted + jobs
        try:
            with self.ids.open("a") as file:
                while self.accepted < goal:
                    check_going()
                    try:
                        done = await queue.submit([_job(choice) for _ in range(BATCH)])
                    except QueueUnavailable:
                        self.unanswered += BATCH
                        await asyncio.sleep(0.1)
                        continue
                    file.writelines(f"{job.id}\n" for job in done)
                    self.accepted += len(done)
                    await _while_deep(queue)
        finally:
            await queue.close()


def _job(choice: random.Random) -> NewJob:
    """Mostly the simplest; some that fail, are delayed, or have a key."""
    die = choice.random()
    payload = b'{"fail":true}' if die < 0.01 else b"{}"
    key = f"{choice.getrandbits(64):x}" if 0.02 < die < 0.04 else None
    return NewJob("quick", payload, delay_ms=50 if 0.01 < die < 0.02 else 0, idempotency_key=key, digest="x" if key else "")


async def _while_deep(queue: Queue) -> None:
    with suppress(QueueUnavailable):  # the next submission waits
        while (await queue.stats(["default"]))[0].demand > DEPTH:  # noqa: ASYNC110 - it is the server that knows
            await asyncio.sleep(0.02)


def _plan(choice: random.Random) -> tuple[Json, Json]:
    """Jobs over HTTP, with a history that is checked."""
    plan: Json = choice.choice([{}, {"seconds": 0.05}, {"kind": "flaky", "times": 1}, {"kind": "permanent"}])
    return dict(plan), {"type": choice.choices(["task", "task_pool"], [9, 1])[0], "queue": choice.choice(["default", "other"])}


@contextmanager
def _life(stand: Stand, seed: int) -> Iterator[list[str]]:
    """What goes on beside the flow. Each submission is sent once: an idempotency key is forgotten after IDEMPOTENCYTTL."""
    with loaded(stand, 2, seed=seed, pause=0.05, tries=1, plan=_plan), ticking(stand, name=f"due-{seed}") as due:
        yield due


def _wave(stand: Stand, flow: _Flow, killer: Killer, jobs: int, seed: int) -> list[str]:
    """So many jobs, while each of MORTAL and of the servers dies once, then one trouble after the other; returns the schedules made."""
    names = [*MORTAL, *SERVERS]
    with _life(stand, seed) as due:
        for number, name in enumerate(names):
            asyncio.run(flow.run(jobs // (2 * len(names)), seed * 1000 + number))
            _strike(killer, flow, name, seed * 1000 + 50 + number)
        killer.revive()
        for number, (name, trouble) in enumerate(TROUBLES.items()):
            asyncio.run(flow.run(jobs // (4 * len(TROUBLES)), seed * 1000 + 100 + number))
            assert _beside(flow, seed * 1000 + 150 + number, lambda trouble=trouble: trouble(stand)), f"the fault did not happen: {name}"  # type: ignore[misc]
        asyncio.run(flow.run(jobs // 4, seed * 1000 + 999))
    return due


def _beside(flow: _Flow, seed: int, act: Callable[[], T]) -> T:
    """Do something as jobs flow."""
    with ThreadPoolExecutor(1) as beside:
        flowing = beside.submit(lambda: asyncio.run(flow.run(BATCH, seed)))
        done = act()
        flowing.result()
    return done


def _strike(killer: Killer, flow: _Flow, name: str, seed: int) -> None:
    """Kill one as jobs flow; PostgreSQL is away for so long that jobs end meanwhile."""
    away = 2.0 if name == "postgres" else 0.2
    _beside(flow, seed, lambda: killer.strike(Stroke((name,), 0.0, away, None)))


def _rest(stand: Stand, seconds: float, hurry: bool) -> Sizes:
    """Everything as it is when there is nothing left to do, and all that is kept for a while has gone.

    The scheduler trims dead letters every 30 s; in a ``hurry`` that is asked for here, as any process may.
    """

    def at_rest() -> Sizes | None:
        if hurry:
            asyncio.run(_audit(stand.redis_url))
        sizes = measure(stand)
        busy = any(sizes.keys[name] for name in AT_REST) or any(sizes.pending.values())
        return None if busy or any(sizes.members[key] for key in sizes.consumers) else sizes

    try:
        return until("nothing is left to do", at_rest, seconds, pause=0.5)  # type: ignore[no-any-return]
    except AssertionError:
        return measure(stand)


async def _audit(redis_url: str) -> None:
    queue = await Queue.connect(Settings(redisaddr=redis_url, resultttl=2, deadttl=2))
    try:
        for name in await queue.queues():
            await queue.reclaim(name, audit=True)
    finally:
        await queue.close()


def _left(sizes: Sizes) -> list[str]:
    left = [f"{sizes.keys[name]} keys {name} are left" for name in AT_REST if sizes.keys[name]]
    left += [f"{count} claims are left on {key}" for key, count in sizes.pending.items() if count]
    return left + [f"{sizes.members[key]} entries are left in {key}" for key in sizes.consumers if sizes.members[key]]


def _grown(stand: Stand, base: Sizes) -> tuple[Sizes, list[str]]:
    """The sizes, and what has grown for good: heaps and pools are given some time."""
    last: list[tuple[Sizes, list[str]]] = []

    def small() -> bool:
        now = measure(stand)
        last[:] = [(now, grown(base, now))]
        return not last[0][1]

    with suppress(AssertionError):
        until("all is as small as before", small, 60, pause=1.0)
    return last[0]


def _rows(stand: Stand, flow: _Flow) -> tuple[list[str], dict[str, Any]]:
    """Whether each accepted job has its row, counted by PostgreSQL; and the verdict on those with a history."""
    with psycopg.connect(stand.database_url, row_factory=psycopg.rows.dict_row) as connection:
        connection.execute('CREATE TEMP TABLE accepted (id text COLLATE "C" PRIMARY KEY)')
        with connection.cursor() as cursor, cursor.copy("COPY accepted FROM STDIN") as copy, flow.ids.open() as lines:
            while text := lines.read(1024 * 1024):
                copy.write(text)
        counts = connection.execute(
            "SELECT count(*) FILTER (WHERE jobs.id IS NULL) AS missing, count(*) FILTER (WHERE jobs.id IS NOT NULL) AS there"
            " FROM accepted LEFT JOIN dtq.jobs USING (id)"
        ).fetchone()
        total = connection.execute("SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM dtq.jobs WHERE type = 'quick'").fetchone()
        assert counts is not None
        assert total is not None
        rows = connection.execute("SELECT * FROM dtq.jobs WHERE type <> 'quick'").fetchall()
    history = read_history(stand.history)
    # With so short a RESULTTTL, Redis may forget a job before a PostgreSQL that is just back has it: it is unknown for a moment.
    verdict = check(history, rows, views_of(stand.redis_url, accepted_jobs(history)), skip=["known"])
    violations = verdict.violations
    if counts["missing"]:
        violations.append(f"{counts['missing']} of {flow.accepted} accepted jobs have no row")
    if total["rows"] != total["ids"] or not flow.accepted <= total["rows"] <= flow.accepted + flow.unanswered:
        violations.append(f"{total['rows']} rows of {total['ids']} jobs; {flow.accepted} were accepted, {flow.unanswered} are unknown")
    return violations, {"accepted": flow.accepted, "unanswered": flow.unanswered, "rows": total["rows"], **_seen(verdict.figures)}


def _seen(figures: dict[str, Any]) -> dict[str, Any]:
    return {f"with a history: {name}": figures[name] for name in ("accepted", "executed again", "ticks")}


def _forget_schedules(stand: Stand, due: list[str]) -> None:
    """Delete them by the API: they are live state, and there are more of them with each wave."""
    with psycopg.connect(stand.database_url, autocommit=True) as connection:

        def waiting() -> set[str]:
            found = connection.execute("SELECT schedule FROM dtq.jobs WHERE schedule = ANY(%s)", (due,))
            return set(due) - {name for (name,) in found}

        until("every schedule that was due has run", lambda: not waiting(), 60, pause=0.3)
    client = Client(stand.url, stand.log)
    for name in due:
        status, answer = client.call("DELETE", f"/schedules/{name}")
        assert status in (200, 204), answer


def _run(scale: float) -> list[Result]:
    began = time.monotonic()
    jobs = max(FEWEST, round(JOBS * scale)) if scale >= 1 / 3 else FEWEST
    with open_stand() as stand:
        stand.start(submitters=2, workers=2, schedulers=2, **SETTINGS)
        flow, killer = _Flow(stand), Killer(stand)
        _forget_schedules(stand, _wave(stand, flow, killer, max(FEWEST // 4, jobs // 10), 1))
        base = _rest(stand, 60, hurry=jobs == FEWEST)
        violations = _left(base)
        waved = time.monotonic()
        _forget_schedules(stand, _wave(stand, flow, killer, jobs, 2))
        waved = time.monotonic() - waved
        left = _left(_rest(stand, 120, hurry=jobs == FEWEST))
        now, more = _grown(stand, base)
        found, figures = _rows(stand, flow)
        violations += left + more + found
        violations += [f"the fault did not happen: {name} was not killed twice" for name in (*MORTAL, *SERVERS) if killer.kills[name] < 2]
    figures |= {"kills": sum(killer.kills.values()), "other faults": 2 * len(TROUBLES), "jobs a second": jobs / waved, **_sizes(base, now)}
    return [Result(NAME, "back at its base", violations, figures, time.monotonic() - began)]


def _sizes(base: Sizes, now: Sizes) -> dict[str, Any]:
    """Base and end side by side."""
    pairs = {name: (base.server[name], now.server[name]) for name in base.server}
    pairs["keys"] = (base.keys.total(), now.keys.total())
    pairs["keys without expiry"] = (base.lasting.total(), now.lasting.total())
    for name in base.memory.keys() & now.memory.keys():
        short = name.partition(" ")[0]
        pairs[f"{short}: bytes"] = (base.memory[name], now.memory[name])
        pairs[f"{short}: files"] = (base.files[name], now.files[name])
    return {name: f"{before} -> {after}" for name, (before, after) in sorted(pairs.items())}


SCENARIO = Scenario(NAME, _run)
