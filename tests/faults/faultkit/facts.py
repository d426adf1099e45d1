"""The history put in order: what each client was told, what each handler did, and what became of each job."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from dtq.job import Attempt, JobView
from faultkit.history import Event

__all__ = ["ENDED", "Confirmed", "Execution", "Facts", "Groups", "Retry", "Row", "Sight"]

ENDED = frozenset({"ok", "error", "permanent"})
"""States of an execution that came to its own end: the handler returned or raised."""

PATIENCE = 30 * 10**9
"""Nanoseconds for which a fault explains what happens after it."""

BYSTANDERS = ("submitter", "scheduler", "postgres", "clocks")
"""Targets of faults that are no reason for a worker to lose a job."""

T = TypeVar("T")

_attempts = msgspec.json.Decoder(list[Attempt])


class Execution(NamedTuple):
    """One run of a handler. ``ended`` is None, and ``state`` empty, if nothing was heard of its end."""

    job: str
    tag: str
    attempt: int
    """As the handler is told: a retry by hand begins anew with 1, while its row's numbers go on."""
    token: str
    worker: int
    """Process id of the worker."""
    started: int
    ended: int | None
    state: str
    plan: dict[str, Any]


class Confirmed(NamedTuple):
    """A client was told that a job is cancelled: it was so at some moment after ``since`` and before ``at``."""

    who: str
    since: int
    at: int


class Retry(NamedTuple):
    """A client put a job back by hand, or may have: if it had an effect, then after ``since`` and before ``until``."""

    since: int
    until: float


class Sight(NamedTuple):
    """What a client was told of a job; the question left after ``since``, the answer was there at ``at``."""

    who: str
    since: int
    at: int
    state: str
    replays: int


class Row:
    """A row of dtq.jobs, with its attempts as records and its payload's plan at hand."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        """``row`` is what psycopg's dict_row gives for SELECT *."""
        self.id = str(row["id"])
        self.type = str(row["type"])
        self.state = str(row["state"])
        self.queue = str(row["queue"])
        self.priority = str(row["priority"])
        self.replays = int(row["replays"])
        self.max_retries: int | None = row["max_retries"]
        self.schedule: str | None = row["schedule"]
        self.result: Any = row["result"]
        self.error: dict[str, Any] = row["error"] or {}
        self.attempts: list[Attempt] = _attempts.decode(msgspec.json.encode(row["attempts"]))
        payload = row["payload"]
        self.plan: dict[str, Any] = payload if isinstance(payload, dict) else {}
        self.tag = str(self.plan.get("tag", ""))
        self.submitted_at = row["submitted_at"]
        self.started_at = row["started_at"]
        self.finished_at = row["finished_at"]

    @property
    def failures(self) -> list[Attempt]:
        """Its attempts that counted against max_retries."""
        return [attempt for attempt in self.attempts if attempt.outcome in ("retry", "failed")]

    @property
    def lost(self) -> list[Attempt]:
        """Its attempts whose workers were taken for dead."""
        return [attempt for attempt in self.attempts if attempt.outcome == "lost"]

    def is_of(self, run: Execution, attempt: Attempt) -> bool:
        """Whether the execution can be the one that is listed as this attempt."""
        fits = run.attempt == attempt.number if self.replays == 0 else run.attempt <= attempt.number
        return fits and f"-{run.worker}-" in attempt.worker

    @property
    def lives(self) -> list[list[Attempt]]:
        """Its attempts by life: one ends with ``failed`` or ``cancelled``, and the next begins by a retry by hand.

        A life that ended otherwise (``worker_lost``, or cancelled while it waited) leaves no such mark: then a list holds
        several, and there are fewer lists than lives. There is always one list.
        """
        lives: list[list[Attempt]] = [[]]
        for attempt in self.attempts:
            if lives[-1] and lives[-1][-1].outcome in ("failed", "cancelled", "succeeded"):
                lives.append([])
            lives[-1].append(attempt)
        return lives


class Groups(dict[str, list[T]]):
    """Lists by a name; one that is not there is empty, and asking for it does not make it."""

    def __missing__(self, name: str) -> list[T]:
        """An empty list."""
        return []

    def add(self, name: str, item: T) -> None:
        """Append to the list of this name."""
        self.setdefault(name, []).append(item)


class Facts:
    """The history, the rows and Redis' views, indexed. Nothing here judges."""

    def __init__(
        self, history: Sequence[Event], rows: Sequence[Mapping[str, Any]], views: Mapping[str, JobView | None], maxretries: int
    ) -> None:
        """Index everything once. ``maxretries``: the workers' MAXRETRIES."""
        self.history = history
        self.views = views
        self.maxretries = maxretries
        self.rows: dict[str, Row] = {}
        self.twice: list[str] = []
        """Ids that more than one row has."""
        self.sent: Groups[Event] = Groups()
        """Submissions by tag."""
        self.accepted: dict[str, str] = {}
        """Tags of the jobs that a client was promised, by their ids."""
        self.refused: Counter[str] = Counter()
        """How often a tag's submissions were refused."""
        self._ids: dict[str, set[str]] = {}
        self.executions: Groups[Execution] = Groups()
        self.by_token: dict[str, Execution] = {}
        self.cancel_wished: set[str] = set()
        self.confirmed: Groups[Confirmed] = Groups()
        self.retries: Groups[Retry] = Groups()
        self.sights: Groups[Sight] = Groups()
        self.faults: list[Event] = []
        self._add_rows(rows)
        self._add_history(history)

    def _add_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for raw in rows:
            row = Row(raw)
            if row.id in self.rows:
                self.twice.append(row.id)
            self.rows[row.id] = row
            if row.schedule is None:
                self._ids.setdefault(row.tag, set()).add(row.id)

    def _add_history(self, history: Sequence[Event]) -> None:
        before: dict[str, int] = {}
        ends: dict[str, Event] = {event.token: event for event in history if event.kind == "end"}
        pending: dict[tuple[str, str], int] = {}
        for event in history:
            since = before.get(event.who, 0)
            before[event.who] = event.at
            if event.kind == "start":
                self._add_execution(event, ends.get(event.token))
            elif event.kind == "fault":
                self.faults.append(event)
            elif event.kind in ("sent", "accepted", "refused"):
                self._add_submission(event)
            elif event.kind.startswith("retr"):
                self._add_retry(event, pending)
            else:
                self._add_sight(event, since)
        for (_, job), asked in pending.items():
            self.retries.add(job, Retry(asked, math.inf))

    def _add_execution(self, start: Event, end: Event | None) -> None:
        found = Execution(
            start.job,
            start.tag,
            start.attempt,
            start.token,
            start.pid,
            start.at,
            end.at if end else None,
            end.state if end else "",
            start.plan,
        )
        self.executions.add(start.job, found)
        self.by_token[start.token] = found

    def _add_submission(self, event: Event) -> None:
        if event.kind == "sent":
            self.sent.add(event.tag, event)
        elif event.kind == "refused":
            self.refused[event.tag] += 1
        else:
            self.accepted.setdefault(event.job, event.tag)
            self._ids.setdefault(event.tag, set()).add(event.job)

    def _add_retry(self, event: Event, pending: dict[tuple[str, str], int]) -> None:
        """A retry is pending from its question to its answer; one that was refused never had an effect."""
        asked = pending.pop((event.who, event.job), None)
        if event.kind == "retry_sent":
            if asked is not None:
                self.retries.add(event.job, Retry(asked, math.inf))
            pending[event.who, event.job] = event.at
        elif event.kind == "retried":
            self.retries.add(event.job, Retry(asked or 0, event.at))

    def _add_sight(self, event: Event, since: int) -> None:
        if event.kind == "cancel_sent":
            self.cancel_wished.add(event.job)
        elif event.kind == "cancelled" or (event.kind == "seen" and event.state == "cancelled"):
            self.confirmed.add(event.job, Confirmed(event.who, since, event.at))
        if event.kind == "seen":
            self.sights.add(event.job, Sight(event.who, since, event.at, event.state, event.replays))

    def ids(self, tag: str) -> set[str]:
        """Jobs that are known to have been made for a tag."""
        return self._ids.get(tag, set())

    def planned(self) -> Iterator[Row]:
        """Rows of the fault tests' own job types."""
        return (row for row in self.rows.values() if row.type in ("task", "task_pool"))

    def limit(self, row: Row) -> int:
        """Retries that the job has."""
        return self.maxretries if row.max_retries is None else row.max_retries

    def retried_between(self, job: str, since: int, until: float) -> bool:
        """Whether somebody may have put the job back within this time."""
        return any(retry.since < until and retry.until > since for retry in self.retries[job])

    def disturbed(self, worker: int, since: int, until: int, *, but: Sequence[str] = ()) -> Event | None:
        """A fault that may have kept the worker from renewing its lease or from reporting in this time, or shortly before.

        One that hit a process hit no other worker; one that hit no process (a network, a server) may have hit each. ``but``
        names kinds of faults that are no explanation.
        """
        near = (fault for fault in self.faults if since - PATIENCE <= fault.at <= until and fault.text not in but)
        return next((fault for fault in near if _may_hit(fault, worker)), None)


def _may_hit(fault: Event, worker: int) -> bool:
    if fault.target.startswith(BYSTANDERS):
        return False
    return fault.pid in (0, worker) or not fault.target.startswith("worker")
