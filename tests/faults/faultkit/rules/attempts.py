"""The attempts that a job's row lists are those that handlers made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from faultkit.facts import ENDED, Execution, Facts, Row

__all__ = ["attempts", "delay", "executions", "times"]

LAST = {"succeeded": {"succeeded"}, "failed": {"failed", "lost"}}
"""Outcomes of the last attempt by the job's state. A job can be cancelled with any history, as it waits or runs."""

TOLERANCE = timedelta(seconds=1)
"""By how much times of different processes on one machine may seem disordered: they are taken a little before or after the fact."""

EARLY = 50_000_000
"""Nanoseconds: the same for the beginning of a delayed job."""

KILLS = ("SIGKILL", "SIGSTOP", "SIGCONT")
"""Faults after which an unreported attempt is lost, so that the next has another number."""


def attempts(facts: Facts) -> Iterator[str]:
    """Numbers ascend, only the last attempt of a life is final, and it fits the state (docs/architecture.md, "States")."""
    for row in facts.rows.values():
        numbers = [attempt.number for attempt in row.attempts]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            yield f"{row.id}: attempts are numbered {numbers}"
        outcomes = [attempt.outcome for attempt in row.attempts]
        if "running" in outcomes or "succeeded" in outcomes[:-1]:
            yield f"{row.id}: {row.state}, and its attempts {outcomes}"
        elif row.state in LAST and (not outcomes or outcomes[-1] not in LAST[row.state]):
            yield f"{row.id}: {row.state}, and its last attempt {outcomes[-1] if outcomes else 'was never made'}"


def times(facts: Facts) -> Iterator[str]:
    """Submitted, started and finished in this order, one attempt after the other. Needs clocks that agree within a second."""
    for row in facts.rows.values():
        moments = [("submitted", row.submitted_at)]
        for attempt in row.attempts:
            moments += [(f"attempt {attempt.number} started", _moment(attempt.started)), ("finished", _moment(attempt.finished))]
        moments.append(("ended", row.finished_at))
        known = [(name, at) for name, at in moments if at is not None]
        for (before, earlier), (after, later) in pairwise(known):
            if later < earlier - TOLERANCE:
                yield f"{row.id}: {after} at {later.isoformat()}, {(earlier - later).total_seconds():.3f} s before it was {before}"
        yield from _started(row)


def _started(row: Row) -> Iterator[str]:
    last = row.attempts[-1] if row.attempts else None
    if row.state == "succeeded" and last is not None and row.started_at != _moment(last.started):
        yield f"{row.id}: its row says that it started at {row.started_at}, its last attempt says {_moment(last.started)}"


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms // 1000, UTC) + timedelta(milliseconds=ms % 1000)


def delay(facts: Facts) -> Iterator[str]:
    """A job does not start before its ``delay`` is over (README: "Not before so many seconds have passed").

    One that was cancelled meanwhile and sent back by hand starts at once.
    """
    for job, runs in facts.executions.items():
        sent = facts.sent.get(runs[0].tag, [])
        wait = int(1e9 * float(sent[0].fields.get("delay", 0))) if sent else 0
        if wait and runs[0].started < sent[0].at + wait - EARLY and not facts.retried_between(job, sent[0].at, runs[0].started):
            yield f"{job}: started {(runs[0].started - sent[0].at) / 1e9:.3f} s after it was sent, with a delay of {wait / 1e9:g} s"


def executions(facts: Facts) -> Iterator[str]:
    """A recorded attempt is an execution by the worker that it names; none that came to its end is repeated under its number.

    An attempt whose report was lost with its worker is repeated under the next number: the row lists it as lost. One that
    was handed back did not come to its end. So an execution that ended, and another of the same number, means that the queue
    gave the job away while it was claimed, or forgot its end. Left out are jobs in processes of a pool, which may end in the
    moment in which they are handed back, and what a worker could not report as it was stopped or cut off.
    """
    for row in facts.planned():
        runs = facts.executions[row.id]
        for attempt in row.failures:
            if attempt.error is not None and attempt.error.message == "as planned":
                made = [run for run in runs if run.state in ("error", "permanent")]
                if not any(row.is_of(run, attempt) for run in made):
                    yield f"{row.id}: attempt {attempt.number} failed, says its row; no execution by {attempt.worker} did"
        if row.type != "task":
            continue
        for number, some in _by_number(runs).items():
            ended = [run for run in some if run.state in ENDED]
            twice = len(ended) > 1 + row.replays
            if twice and not facts.disturbed(ended[0].worker, ended[0].started, ended[-1].started, but=KILLS):
                yield f"{row.id}: attempt {number} was made {len(ended)} times by {[run.worker for run in ended]}"


def _by_number(runs: list[Execution]) -> defaultdict[int, list[Execution]]:
    found: defaultdict[int, list[Execution]] = defaultdict(list)
    for run in runs:
        found[run.attempt].append(run)
    return found
