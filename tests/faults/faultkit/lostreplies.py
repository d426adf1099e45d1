"""The reply to a request is lost after the server has executed it: for each kind of request, what must hold afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from dtq.config import Settings
from dtq.queue import Queue, scripts
from dtq.schedule import scripts as schedule_scripts
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore
from faultkit.history import Event, Log, read_history
from faultkit.load import Client, Json
from faultkit.proxy import Trap
from faultkit.stand import until
from faultkit.wired import Wired, link

__all__ = ["CASES", "Case", "Lost"]

YEAR_MS = 366 * 86_400_000
PATIENCE = 60.0


class Lost:
    """One case under way: a client of its own, the trap, and what was seen."""

    def __init__(self, wired: Wired, name: str, after: int) -> None:
        """``after``: bytes of the reply that arrive all the same."""
        self.wired = wired
        self.name = f"{name}-{after}"
        self.after = after
        self.log = Log(wired.stand.history, f"client {self.name}")
        self.client = Client(wired.stand.url, self.log)
        self.violations: list[str] = []
        self.traps: list[Trap] = []

    def trap(self, service: str, server: str, text: bytes, times: int = 1) -> Trap:
        """Lose the reply to this service's next request with this text."""
        trap = self.wired.trap(link(service, server), text, self.after, times)
        self.traps.append(trap)
        return trap

    def script(self, service: str, name: str, times: int = 1) -> Trap:
        """Lose the reply of a script of the queue."""
        return self.sha(service, scripts.load(name), times)

    def sha(self, service: str, script: scripts.Script, times: int = 1) -> Trap:
        """Lose the reply of a script; the server knows it, so that it is not just its ignorance that gets lost."""
        self.on_queue(lambda queue: queue.client.script_load(script.text))
        return self.trap(service, "redis", script.sha.encode(), times)

    def submit(self, plan: Json, **fields: Any) -> str:
        """A job that is accepted, after as many tries as it takes."""
        job = self.client.submit(plan, tries=20, **fields)
        assert job is not None, "it was not accepted"
        return job

    def row(self, job: str) -> Json:
        """Its row, once it is there."""
        return until(f"{self.name}: {job} has its row", lambda: self._row("id", job), PATIENCE)  # type: ignore[no-any-return]

    def rows_of_tag(self, tag: str) -> list[Json]:
        """All rows whose payload has this tag."""
        return [row for row in self.wired.stand.rows() if row["payload"].get("tag") == tag]

    def _row(self, column: str, value: str) -> Json | None:
        return next((row for row in self.wired.stand.rows() if str(row[column]) == value), None)

    def starts(self, job: str) -> list[Event]:
        """Executions so far."""
        return [event for event in read_history(self.wired.stand.history) if event.kind == "start" and event.job == job]

    def expect(self, what: str, holds: bool) -> None:
        """A violation unless it holds."""
        if not holds:
            self.violations.append(f"{self.name}: not so: {what}")

    def ran(self, job: str, times: int = 1, state: str = "succeeded") -> None:
        """It ended so after so many executions, by one worker that was never taken for dead."""
        row = self.row(job)
        outcomes = [attempt["outcome"] for attempt in row["attempts"]]
        self.expect(f"{job} {state}; it is {row['state']}", row["state"] == state)
        self.expect(f"{job} was executed {times} times; it was {len(self.starts(job))} times", len(self.starts(job)) == times)
        self.expect(f"no attempt of {job} was lost: {outcomes}", "lost" not in outcomes)

    def sprung(self) -> None:
        """Wait until every trap has sprung."""
        for trap in self.traps:
            with contextlib.suppress(AssertionError):
                until("the trap springs", partial(_has_sprung, trap), 30)
            if trap.sprung != trap.times:
                self.violations.append(f"{self.name}: the fault did not happen: {trap}")

    def ask(self, method: str, path: str) -> int:
        """Status of a request; 0 if there was no answer."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            status = self.client.call(method, path)[0]
            self.expect(f"{method} {path} is not answered with {status}", status != 500)
            return status
        return 0

    def on_queue(self, what: Callable[[Queue], Any]) -> Any:
        """What a call straight on the server answers."""

        async def call() -> Any:
            queue = await Queue.connect(Settings(redisaddr=self.wired.stand.redis_url))
            try:
                return await what(queue)
            finally:
                await queue.close()

        return asyncio.run(call())

    def paused(self, paused: bool) -> None:
        """Pause or resume the default queue."""
        self.on_queue(lambda queue: queue.pause("default") if paused else queue.resume("default"))


def _has_sprung(trap: Trap) -> bool:
    return trap.sprung == trap.times


def _submit(lost: Lost) -> None:
    lost.script("submitter-1", "submit")
    job = lost.submit({})
    lost.ran(job)
    lost.expect("the retry with the key made no second job", len(lost.rows_of_tag(lost.row(job)["payload"]["tag"])) == 1)


def _claim(lost: Lost) -> None:
    lost.paused(True)
    jobs = [lost.submit({}) for _ in range(3)]
    lost.script("worker-1", "claim")
    lost.paused(False)
    for job in jobs:
        lost.ran(job)


def _box(lost: Lost) -> None:
    def waits() -> bool:
        async def ask(queue: Queue) -> int:
            return int(await queue.client.zcard("dtq:{default}:idle"))

        return bool(lost.on_queue(ask))

    lost.ran(lost.submit({}))
    until("the worker waits", waits)
    lost.trap("worker-1", "redis", b"BLPOP")
    lost.ran(lost.submit({}))


def _finish(lost: Lost) -> None:
    lost.script("worker-1", "finish")
    lost.ran(lost.submit({}))


def _retry(lost: Lost) -> None:
    lost.script("worker-1", "finish")
    lost.ran(lost.submit({"kind": "flaky", "times": 1}), 2)


def _cancel(lost: Lost) -> None:
    job = lost.submit({}, delay=300)
    lost.script("submitter-1", "cancel")
    lost.log.note("cancel_sent", job=job)
    lost.expect("the lost answer is no success", lost.ask("DELETE", f"/jobs/{job}") in (0, 503))
    lost.client.cancel(job)
    lost.ran(job, 0, "cancelled")


def _replay(lost: Lost) -> None:
    job = lost.submit({"kind": "permanent"})
    lost.ran(job, 1, "failed")
    lost.paused(True)
    lost.script("submitter-1", "replay")
    lost.log.note("retry_sent", job=job)
    lost.expect("the lost answer is no success", lost.ask("POST", f"/jobs/{job}/retry") in (0, 503))
    lost.log.note("retry_sent", job=job)
    lost.expect("it waits already", lost.ask("POST", f"/jobs/{job}/retry") == 409)
    lost.paused(False)
    until("it has run again", lambda: lost.row(job)["replays"] == 1, PATIENCE)
    lost.ran(job, 2, "failed")


def _tick(lost: Lost) -> None:
    """A schedule whose last tick was missed: the tick is fired at once, and once only."""
    tag = f"tick-{lost.name}"
    spec = parse_spec(f'{{"schedule":"0 0 1 1 *","jobTemplate":{{"type":"task","payload":{{"tag":"{tag}"}}}}}}'.encode())

    async def put(queue: Queue) -> None:
        schedules = ScheduleStore(queue.client)
        await schedules.put(tag, spec, created=await schedules.now() - YEAR_MS)

    lost.on_queue(put)
    lost.sprung()
    until("the tick's job has run", lambda: lost.rows_of_tag(tag), PATIENCE)
    time.sleep(1.5)  # a second job of this tick would come with the next looks of the scheduler, twice a second
    rows = lost.rows_of_tag(tag)
    lost.expect(f"the tick started one job: {[str(row['id']) for row in rows]}", len(rows) == 1)
    lost.ran(str(rows[0]["id"]))


def _fire(lost: Lost) -> None:
    lost.script("scheduler-1", "fire")
    _tick(lost)


def _advance(lost: Lost) -> None:
    lost.sha("scheduler-1", schedule_scripts.load("advance"))
    _tick(lost)


def _renew(lost: Lost) -> None:
    job = lost.submit({"seconds": 5})
    until("it runs", lambda: lost.starts(job))
    lost.script("worker-1", "renew", times=3)
    lost.ran(job)


def _outbox(lost: Lost) -> None:
    lost.trap("worker-1", "redis", b":outbox")
    lost.ran(lost.submit({}))


def _insert(lost: Lost) -> None:
    lost.trap("worker-1", "postgres", f"client-{lost.name}-0".encode())
    lost.ran(lost.submit({}))


class Case(NamedTuple):
    """A request whose reply is lost. ``quick``: it is part of the short run."""

    name: str
    run: Callable[[Lost], None]
    quick: bool = False


CASES = [
    Case("submit", _submit, quick=True),
    Case("claim", _claim, quick=True),
    Case("box", _box),
    Case("finish", _finish, quick=True),
    Case("finish-retry", _retry),
    Case("cancel", _cancel),
    Case("replay", _replay, quick=True),
    Case("fire", _fire, quick=True),
    Case("advance", _advance),
    Case("renew", _renew),
    Case("outbox-clear", _outbox),
    Case("insert", _insert, quick=True),
]
