"""A made-up history in which everything is as promised: what tests of the checker start from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from dtq.ids import make_id, tick_id
from dtq.job import Attempt, JobError, JobView, State
from faultkit.history import Event

__all__ = ["Recipe", "Story"]

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
RETRIES = 5


@dataclass(frozen=True)
class Recipe:
    """What shall happen to one job."""

    kind: str = "ok"
    times: int = 0
    type: str = "task"
    max_retries: int | None = None
    delay: float = 0.0
    crashes: int = 0
    """Workers that die while they run it."""
    late: bool = False
    """The last of these died when the handler had returned, before it could say so."""
    answers_lost: int = 0
    """Submissions without an answer before the one that has one."""
    keyed: bool = True
    cancelled: bool = False
    """It is cancelled as it waits."""
    again: bool = False
    """It is put back by hand, once, if it has failed or was cancelled."""
    schedule: str = ""
    refused: bool = False


@dataclass
class _Job:
    id: str
    tag: str
    recipe: Recipe
    submitted: int
    plan: dict[str, Any]
    attempts: list[Attempt] = field(default_factory=list)
    replays: int = 0
    state: State = State.QUEUED
    result: dict[str, Any] | None = None
    error: JobError | None = None
    started: int | None = None
    before: int = 0
    """Attempts of earlier lives."""


class Story:
    """Builds a history job by job; ``events``, ``rows`` and ``views`` are what the checker takes."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.events: list[Event] = []
        self.rows: list[dict[str, Any]] = []
        self.views: dict[str, JobView | None] = {}
        self.now = 10**12
        self._count = 0
        self._worker = 1000

    def note(self, event: str, who: str, **fields: Any) -> Event:
        """An event, some milliseconds after the one before."""
        self.now += 7_000_000
        found = Event(kind=event, at=self.now, who=who, **fields)
        self.events.append(found)
        return found

    @property
    def ms(self) -> int:
        """The wall clock."""
        return int(EPOCH.timestamp() * 1000) + self.now // 1_000_000

    def add(self, recipe: Recipe) -> str:
        """Play a job from its submission to its row; returns its id (its tag, if it was refused)."""
        self._count += 1
        who = f"client {self._count % 3}"
        job = self._submit(recipe, who)
        if job is None:
            return f"tag-{self._count}"
        self.note("seen", who, job=job.id, state="queued")
        self.now += int(recipe.delay * 1e9)
        if recipe.cancelled:
            self.note("cancel_sent", who, job=job.id)
            self._end(job, State.CANCELLED, JobError("cancelled", "cancelled by request"))
            self.note("cancelled", who, job=job.id)
        else:
            self._live(job)
        if recipe.again and job.state is not State.SUCCEEDED:
            self.note("seen", who, job=job.id, state=job.state.value)
            self.note("retry_sent", who, job=job.id)
            self.note("retried", who, job=job.id)
            job.replays, job.state, job.error, job.before = 1, State.QUEUED, None, len(job.attempts)
            self._live(job)
        self.note("seen", who, job=job.id, state=job.state.value, replays=job.replays)
        self._store(job)
        return job.id

    def _submit(self, recipe: Recipe, who: str) -> _Job | None:
        tag = f"tag-{self._count}"
        plan = {"kind": recipe.kind, "times": recipe.times}
        if recipe.schedule:
            minute = self.ms // 60_000 * 60_000 + self._count * 60_000
            return _Job(tick_id("uid", minute, "default"), recipe.schedule, recipe, minute, plan)
        fields: dict[str, Any] = {"type": recipe.type, "queue": "default"}
        fields |= {"delay": recipe.delay} if recipe.delay else {}
        fields |= {} if recipe.max_retries is None else {"max_retries": recipe.max_retries}
        key = tag if recipe.keyed else ""
        for _ in range(recipe.answers_lost if recipe.keyed else 0):
            self.note("sent", who, tag=tag, key=key, plan=plan, fields=fields)
            self.note("unanswered", who, tag=tag, text="lost")
        self.note("sent", who, tag=tag, key=key, plan=plan, fields=fields)
        if recipe.refused:
            self.note("refused", who, tag=tag, status=422)
            return None
        job = _Job(make_id(f"{self.ms}-{self._count}", "n", "default"), tag, recipe, self.ms, plan)
        self.note("accepted", who, tag=tag, job=job.id, status=202)
        return job

    def _live(self, job: _Job) -> None:
        """Crashes, failures and the end of one life."""
        recipe = job.recipe
        for number in range(recipe.crashes if job.replays == 0 else 0):
            self._crash(job, recipe.late and number == recipe.crashes - 1)
            if number == 2:
                self._end(job, State.FAILED, JobError("worker_lost", "its worker died 3 times while running it"))
                return
        limit = RETRIES if recipe.max_retries is None else recipe.max_retries
        for failures in range(limit + 1):
            if recipe.kind == "ok" or (recipe.kind == "flaky" and failures >= recipe.times):
                self._succeed(job)
                return
            permanent = recipe.kind == "permanent"
            self._fail(job, JobError("permanent" if permanent else "error", "as planned"), final=permanent or failures == limit)
            if permanent:
                return

    def _execution(self, job: _Job, state: str) -> tuple[dict[str, Any], int, int]:
        """Start and end; returns what the handler returns, and when it ran."""
        number = len(job.attempts) - job.before + 1
        self._count += 1
        about = {"job": job.id, "tag": job.tag, "attempt": number, "token": f"token-{self._count}", "pid": self._worker}
        who = f"worker {self._worker}"
        started = self.ms
        self.note("start", who, **about, plan={"tag": job.tag, **job.plan})
        if state:
            self.note("end", who, **about, state=state)
        job.started = started
        return {"tag": job.tag, "attempt": number, "token": about["token"], "text": ""}, started, self.ms

    def _crash(self, job: _Job, late: bool) -> None:
        _, started, _ = self._execution(job, "ok" if late else "")
        self.note("fault", "fault", text="SIGKILL", target="worker-1", pid=self._worker)
        self.now += 4_000_000_000
        lost = JobError("worker_lost", "the worker stopped renewing its lease")
        job.attempts.append(self._attempt(job, started, self.ms, "lost", lost))
        self._worker += 1

    def _fail(self, job: _Job, error: JobError, *, final: bool) -> None:
        _, started, ended = self._execution(job, "permanent" if error.kind == "permanent" else "error")
        job.attempts.append(self._attempt(job, started, ended, "failed" if final else "retry", error))
        if final:
            self._end(job, State.FAILED, error)

    def _succeed(self, job: _Job) -> None:
        job.result, started, ended = self._execution(job, "ok")
        job.attempts.append(self._attempt(job, started, ended, "succeeded", None))
        self._end(job, State.SUCCEEDED, None)

    def _attempt(self, job: _Job, started: int, ended: int, outcome: str, error: JobError | None) -> Attempt:
        return Attempt(len(job.attempts) + 1, f"host-{self._worker}-0a1b2c3d", started, ended, outcome, error)

    @staticmethod
    def _end(job: _Job, state: State, error: JobError | None) -> None:
        job.state, job.error = state, error

    def _store(self, job: _Job) -> None:
        """The row, and Redis' view of it."""
        payload = {"tag": job.tag, **job.plan}
        ended = self.ms
        view = JobView(
            job.id,
            "default",
            job.recipe.type,
            job.state,
            "normal",
            msgspec.json.encode(payload),
            job.submitted,
            started=job.started,
            finished=ended,
            result=None if job.result is None else msgspec.json.encode(job.result),
            error=job.error,
            attempts=tuple(job.attempts),
            max_retries=job.recipe.max_retries,
            replays=job.replays,
            schedule=job.recipe.schedule or None,
        )
        self.views[job.id] = view
        row = msgspec.to_builtins(view)
        row |= {"payload": payload, "result": job.result, "attempts": msgspec.to_builtins(job.attempts)}
        row |= {
            "submitted_at": _moment(job.submitted if not job.recipe.schedule else ended - 60_000),
            "started_at": None if job.started is None else _moment(job.started),
            "finished_at": _moment(ended),
        }
        self.rows.append(row)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC) + timedelta(milliseconds=ms % 1000)
