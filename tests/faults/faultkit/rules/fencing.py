"""A worker that was taken for dead changes nothing any more (docs/adr/0003), and none is while it lives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from faultkit.facts import ENDED, Execution, Facts, Row

__all__ = ["crashes", "exclusive", "over", "overlaps", "stale"]


def stale(facts: Facts) -> Iterator[str]:
    """A stored result is that of the attempt which the row calls succeeded: of its number, by its worker, ended well."""
    for row in facts.planned():
        if row.state == "succeeded":
            yield from _result(facts, row)
        elif row.result is not None:
            yield f"{row.id}: {row.state}, and has a result"


def _result(facts: Facts, row: Row) -> Iterator[str]:
    result = row.result if isinstance(row.result, dict) else {}
    run = facts.by_token.get(result.get("token", ""))
    if run is None:
        yield f"{row.id}: its result {result!r:.200} is of no execution"
        return
    if run.job != row.id:
        yield f"{row.id}: has the result of {run.job}"
    if run.state != "ok":
        yield f"{row.id}: has the result of an execution that ended as {run.state or 'nobody knows'}"
    last = row.attempts[-1] if row.attempts else None
    if last is not None and not row.is_of(run, last):
        yield f"{row.id}: attempt {last.number} by {last.worker} succeeded; the result is of attempt {run.attempt} by process {run.worker}"


def crashes(facts: Facts) -> Iterator[str]:
    """An execution without an end was cut off by its worker's death, and the job's row says so: lost under this number.

    Otherwise the queue lost count of a crash, by which a job that kills its workers would run for ever. Left out are
    jobs in processes of a pool, which are killed at a timeout, a cancellation and a stop; and workers that did not just die.
    """
    for row in facts.planned():
        unheard = [run for run in facts.executions[row.id] if run.ended is None] if row.type == "task" else []
        for run in _not_lost(row, unheard):
            if not facts.disturbed(run.worker, run.started, run.started, but=("SIGKILL",)):
                numbers = [attempt.number for attempt in row.lost]
                yield f"{row.id}: process {run.worker} never ended attempt {run.attempt}, and the row lists {numbers} as lost"


def _not_lost(row: Row, unheard: list[Execution]) -> list[Execution]:
    """Those of the executions for which the row lists no lost attempt; each needs one of its own."""
    lost = row.lost
    left = []
    for run in unheard:
        attempt = next((attempt for attempt in lost if row.is_of(run, attempt)), None)
        if attempt is None:
            left.append(run)
        else:
            lost.remove(attempt)
    return left


def overlaps(facts: Facts) -> Iterator[tuple[Execution, Execution]]:
    """Executions of one job of which the second began before the first had ended, while the first one's worker lived and
    nothing kept it from renewing its lease, nor the second one's from hearing that it had lost its own: a worker that stood
    still may begin what it had claimed before."""
    dead = {fault.pid: fault.at for fault in facts.faults if fault.text == "SIGKILL" and fault.target.startswith("worker")}
    for runs in facts.executions.values():
        for first, second in combinations(runs, 2):
            lived = first.ended is not None and first.ended > second.started
            unheard = first.ended is None and dead.get(first.worker, second.started) > second.started and not _told(facts, first)
            workers = (first.worker, second.worker)
            if (lived or unheard) and not any(facts.disturbed(worker, first.started, second.started) for worker in workers):
                yield first, second


def _told(facts: Facts, run: Execution) -> bool:
    """Whether the row tells of an end that the history does not have: a process of a pool is killed at a timeout and a
    cancellation, and only then does its worker report."""
    row = facts.rows.get(run.job)
    if row is None or row.type != "task_pool":
        return False
    return any(row.is_of(run, attempt) and attempt.outcome in ("retry", "failed", "cancelled") for attempt in row.attempts)


def exclusive(facts: Facts) -> Iterator[str]:
    """A job never runs twice at once, as long as workers live and reach Redis (docs/architecture.md, "Leases and fencing").

    Left out is what a fault may explain that hit one of the workers or Redis in the half minute before.
    """
    for first, second in overlaps(facts):
        after = (second.started - first.started) / 1e9
        yield f"{first.job}: ran in process {first.worker}, and {after:.3f} s later in {second.worker} too, while the first one lived"


def over(facts: Facts) -> Iterator[str]:
    """What has ended is ended: every execution that came to its own end is an attempt of its job's row, or of its past lives.

    An execution under a number beyond the last, or more of them than attempts, was given out after the job's end, or is a
    failure that the queue lost count of, by which a job would be tried for ever. Left out are jobs in processes of a pool,
    which may end in the moment in which they are handed back, and what a worker could not report as it was frozen or cut off.
    """
    for row in facts.planned():
        ended = [run for run in facts.executions[row.id] if run.state in ENDED] if row.type == "task" else []
        listed = {attempt.number for attempt in row.attempts}
        made = row.attempts[-1].number if row.attempts else 0  # of a row that was put back often, the oldest are not listed
        extra = [run for run in ended if run.attempt not in listed] if row.replays == 0 else ended[made:]
        for run in extra:
            if not facts.disturbed(run.worker, run.started, run.started, but=("SIGKILL",)):
                yield f"{row.id}: {row.state}, and process {run.worker} made attempt {run.attempt} of it; its row lists {sorted(listed)}"
