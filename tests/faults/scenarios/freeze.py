"""Everything is stopped for longer than a lease, one after the other under load, and goes on: workers, scheduler, submitter, servers.

What a frozen worker ran runs elsewhere, and its late results change nothing. While a server stands still, no live worker is
taken for dead.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from faultkit.frozen import family, frozen
from faultkit.history import Event, Log, read_history
from faultkit.load import Client, Json, loaded, mixed_plan
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import Service, Stand, open_stand, until
from faultkit.takeover import running_at

__all__ = ["SCENARIO", "late_results"]

NAME = "freeze"
QUICK_LEASE = 2.6
"""Of the short run: all stands still for longer than it, but not for as long as a call waits for its answer (5 s)."""
LEASE = 4.0
POLLS = 10
PATIENCE = 120.0


def late_results(history: Sequence[Event], rows: Sequence[Json], pid: int, at: int, jobs: Sequence[str]) -> list[str]:
    """Which of the jobs that were taken from a worker frozen at ``at`` ended all the same by what it had begun before."""
    begun = {event.token for event in history if event.kind == "start" and event.pid == pid and event.at <= at}
    results = {str(row["id"]): row["result"] for row in rows}
    return [job for job in jobs if isinstance(results.get(job), dict) and results[job].get("token") in begun]


class Round:
    """One stand under load, and the steps done on it."""

    def __init__(self, stand: Stand, lease: float) -> None:
        self.stand = stand
        self.seconds = 1.5 * lease + 1
        """How long everything stands still."""
        self._long = 1.5 * lease
        self._log = Log(stand.history, "client freeze")
        self._client = Client(stand.url, self._log, timeout=60)
        self.results: list[Result] = []
        self.begun: list[tuple[int, int]] = []
        """For each step: when it began (ms since 1970), and the pid of the worker that may be taken for dead; 0: none may."""
        self.frozen: list[tuple[int, int, int, list[str]]] = []
        """For each frozen worker: the step, its pid, when (ns) and what it ran."""

    def plan(self, choice: random.Random) -> tuple[Json, Json]:
        """A mixed load with jobs that last for longer than a lease."""
        plan, fields = mixed_plan(choice)
        if choice.random() < 0.08:
            return {"seconds": self._long}, {"type": choice.choices(["task", "task_pool"], [2, 1])[0], "timeout": 120}
        return plan, fields

    def step(self, name: str, run: Callable[[], Json], may_die: int = 0) -> None:
        """Run a step; what it raises or returns goes into its result."""
        began = time.monotonic()
        self.begun.append((time.time_ns() // 1_000_000, may_die))
        try:
            self.results.append(Result(NAME, name, [], run(), time.monotonic() - began))
        except AssertionError as error:
            self.results.append(Result(NAME, name, [str(error)], {}, time.monotonic() - began))

    def history(self) -> list[Event]:
        return read_history(self.stand.history)

    # ------------------------------------------------------------ workers

    def worker(self, worker: Service, whole: bool) -> Json:
        """Freeze a worker that is in the middle of long jobs, on its loop and in its processes."""
        self._with_long_jobs(worker)
        pids = family(worker.pid) if whole else [worker.pid]
        with frozen(self.stand.log, worker.name, pids):
            at = time.monotonic_ns()
            jobs = running_at(self.history(), worker.pid, at)
            self.frozen.append((len(self.results), worker.pid, at, jobs))
            until("its jobs run elsewhere", lambda: self._taken(jobs, worker.pid, at) >= set(jobs), PATIENCE, pause=0.2)
            time.sleep(1)  # also what it ran in its processes ends now, if only the worker itself stands still
        thawed = time.monotonic_ns()
        until("the frozen worker goes on", lambda: self._starts(worker.pid, thawed), PATIENCE, pause=0.2)
        late = worker.output.read_text(errors="replace").count('"stale_attempt"')
        return {"processes": len(pids), "ran elsewhere": len(jobs), "late results refused so far": late}

    def _with_long_jobs(self, worker: Service) -> None:
        for kind in ("task", "task_pool"):
            for _ in range(2):
                self._client.submit({"seconds": self._long}, tries=20, type=kind, timeout=120, priority="high")

        def ready() -> bool:
            history, now = self.history(), time.monotonic_ns()
            running = set(running_at(history, worker.pid, now))
            fresh = [e for e in history if e.kind == "start" and e.job in running and e.plan.get("seconds") == self._long]
            young = [e for e in fresh if now - e.at < self._long * 0.3e9]
            return {e.who == f"worker {e.pid}" for e in young} == {True, False}

        until(f"{worker.name} has begun long jobs of both kinds", ready, PATIENCE)

    def _taken(self, jobs: Sequence[str], pid: int, at: int) -> set[str]:
        """Jobs that have started elsewhere since, or have ended meanwhile by an end that was under way."""
        history = self.history()
        elsewhere = {event.job for event in history if event.kind == "start" and event.at > at and event.pid != pid}
        ended = {str(row["id"]) for row in self.stand.rows()}
        return elsewhere | (ended & set(jobs))

    def _starts(self, pid: int, since: int) -> bool:
        return any(event.kind == "start" and event.pid == pid and event.at > since for event in self.history())

    # ------------------------------------------------------------ scheduler and submitter

    def scheduler(self) -> Json:
        """Delayed jobs start all the same, and nobody is taken for dead afterwards."""
        [scheduler] = self.stand.of("scheduler")
        with frozen(self.stand.log, scheduler.name, family(scheduler.pid)):
            job = self._client.submit({}, tries=20, delay=1)
            until("a delayed job runs", lambda: any(e.kind == "start" and e.job == job for e in self.history()), PATIENCE, pause=0.2)
            time.sleep(self.seconds)
        until("the scheduler is ready", scheduler.ready, PATIENCE)
        return {}

    def submitter(self) -> Json:
        """Long polls that hang meanwhile are answered in the end, with how their jobs ended; or with 503 if Redis' answer came too late."""
        [submitter] = self.stand.of("submitter")
        jobs = [str(self._client.submit({"seconds": 1.0}, tries=20, timeout=120)) for _ in range(POLLS)]
        with ThreadPoolExecutor(POLLS) as pool:
            polls = [pool.submit(self._poll, job) for job in jobs]
            until("the polls hang", lambda: self._running(jobs), PATIENCE)
            with frozen(self.stand.log, submitter.name, family(submitter.pid)):
                time.sleep(self.seconds)
            answers = [_answer(poll) for poll in polls]
        wrong = [answer for answer in answers if answer not in ((200, "succeeded"), (503, ""))]
        assert (200, "succeeded") in answers, f"long polls were answered with {answers}"
        assert not wrong, f"long polls were answered with {wrong}"
        return {"long polls answered": len(answers)}

    def _running(self, jobs: Sequence[str]) -> bool:
        return any(event.kind == "start" and event.job in jobs for event in self.history())

    def _poll(self, job: str) -> tuple[int, str]:
        status, answer = Client(self.stand.url, self._log, timeout=60).call("GET", f"/jobs/{job}?wait=50")
        return status, answer.get("state", "")

    # ------------------------------------------------------------ servers

    def server(self, name: str, pids: Sequence[int], meanwhile: bool) -> Json:
        """Nobody is taken for dead after it. ``meanwhile``: jobs are accepted and run while it stands still."""
        with frozen(self.stand.log, name, pids):
            at = time.monotonic_ns()
            time.sleep(self.seconds)
            during = [event for event in self.history() if event.at > at]
        thawed = time.monotonic_ns()
        until("jobs are accepted", lambda: any(e.kind == "accepted" and e.at > thawed for e in self.history()), PATIENCE, pause=0.2)
        until("jobs run", lambda: all(self._starts(w.pid, thawed) for w in self.stand.of("worker")), PATIENCE, pause=0.2)
        accepted = sum(event.kind == "accepted" for event in during)
        wrong = {event.status for event in during if event.kind in ("unanswered", "refused")} - {0, 503}
        assert not wrong, f"answers {wrong}"
        assert accepted > 0 or not meanwhile, "nothing was accepted meanwhile"
        return {"processes": len(pids), "accepted meanwhile": accepted}

    # ------------------------------------------------------------ the end

    def judge(self, rows: Sequence[Json]) -> None:
        """Add to each step what it did to jobs that it should not have."""
        history = self.history()
        for step, pid, at, jobs in self.frozen:
            late = late_results(history, rows, pid, at, self._lost(rows, pid, jobs))
            self.results[step].violations.extend(f"{job}: ended by the late result of a frozen worker" for job in late)
            if not self._lost(rows, pid, jobs):
                self.results[step].violations.append("the fault did not happen: no job was taken from the frozen worker")
        for row in rows:
            for attempt in row["attempts"]:
                if attempt["outcome"] == "lost":
                    step = sum(began <= attempt["finished"] for began, _ in self.begun) - 1
                    if step < 0 or f"-{self.begun[step][1]}-" not in attempt["worker"]:
                        found = self.results[max(0, step)].violations
                        found.append(f"{row['id']}: {attempt['worker']} was taken for dead, and lived")
        self._log.close()

    def _lost(self, rows: Sequence[Json], pid: int, jobs: Sequence[str]) -> list[str]:
        """Those of the jobs that were taken from the worker."""

        def was(row: Json) -> bool:
            return any(attempt["outcome"] == "lost" and f"-{pid}-" in attempt["worker"] for attempt in row["attempts"])

        return [str(row["id"]) for row in rows if str(row["id"]) in jobs and was(row)]


def _answer(poll: Future[tuple[int, str]]) -> tuple[int, str]:
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        return poll.result()
    return 0, ""


def _round(lease: float, seed: int, *, short: bool = False) -> list[Result]:
    began = time.monotonic()
    with open_stand() as stand:
        stand.start(workers=3, LEASESECONDS=lease)
        this = Round(stand, lease)
        first, second, _ = stand.of("worker")
        valkey, postgres = stand.valkey.pid or 0, stand.postgres.pid or 0
        with loaded(stand, 3, seed=seed, pause=0.05, plan=this.plan):
            this.step("worker alone", lambda: this.worker(first, whole=False), first.pid)
            this.step("worker with its processes", lambda: this.worker(second, whole=True), second.pid)
            this.step("Valkey", lambda: this.server("valkey", [valkey], meanwhile=False))
            if not short:  # what PostgreSQL's and the scheduler's absence do is in the short runs of other scenarios
                this.step("PostgreSQL", lambda: this.server("postgres", family(postgres), meanwhile=True))
                this.step("scheduler", this.scheduler)
            this.step("submitter, with long polls", this.submitter)
        verdict = settle(stand, 180)
        rows: list[dict[str, Any]] = stand.rows()
        ended = [f"{name} has ended" for name, service in stand.services.items() if not service.alive()]
        this.judge(rows)
    return [*this.results, Result(NAME, "at the end", verdict.violations + ended, verdict.figures, time.monotonic() - began)]


def _run(scale: float) -> list[Result]:
    if scale < 1:
        return _round(QUICK_LEASE, 21, short=True)
    return [result for number in range(round(scale)) for result in _round(LEASE, 21 + number)]


SCENARIO = Scenario(NAME, _run)
