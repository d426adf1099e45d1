"""What a client was told stays true (docs/adr/0008; docs/architecture.md, "States": what has ended is ended)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dtq.job import TERMINAL
from faultkit.facts import Confirmed, Execution, Facts, Sight

__all__ = ["cancelled", "known", "seen"]


def cancelled(facts: Facts) -> Iterator[str]:
    """After a confirmed cancellation nothing of the job runs or starts, and it stays cancelled, unless it was put back by hand.

    Left out is a claimed job on a worker that was frozen or cut off meanwhile: such a worker cannot know, and its claim is
    void.
    """
    for job, told in facts.confirmed.items():
        for told_so in told:
            yield from _broken(facts, job, told_so)


def _broken(facts: Facts, job: str, told: Confirmed) -> Iterator[str]:
    for run in facts.executions[job]:
        if what := _ran_on(facts, run, told):
            yield f"{job}: {what} after its cancellation was confirmed"
    for sight in facts.sights[job]:
        other = sight.state not in ("cancelled", "unknown")  # of what is unknown, the rule below tells
        if other and sight.since >= told.at and not facts.retried_between(job, told.since, sight.at):
            yield f"{job}: was cancelled, and later {sight.state}"
    row = facts.rows.get(job)
    if row is not None and row.state != "cancelled" and not facts.retried_between(job, told.since, math.inf):
        yield f"{job}: its cancellation was confirmed, and it has {row.state}"


def _ran_on(facts: Facts, run: Execution, told: Confirmed) -> str:
    """What the execution did that it should not have; empty if nothing, or if there is a reason."""
    if run.started > told.at:
        what, moment = f"started {(run.started - told.at) / 1e6:.0f} ms", run.started
    elif run.ended is not None and run.ended > told.at:
        what, moment = f"still ran {(run.ended - told.at) / 1e6:.0f} ms", run.ended
    else:
        return ""
    put_back = facts.retried_between(run.job, told.since, max(run.started, told.at))
    return "" if put_back or facts.disturbed(run.worker, told.since, moment, but=("SIGKILL",)) else what


def known(facts: Facts) -> Iterator[str]:
    """An accepted job is never unknown (README, "202 means stored"): Redis knows it until PostgreSQL does."""
    for job, sights in facts.sights.items():
        if any(sight.state == "unknown" for sight in sights):
            yield f"{job}: was unknown to the API"


def seen(facts: Facts) -> Iterator[str]:
    """Once a job was seen in its final state, it is never seen in another of the same run.

    Two looks are compared in time only if the second was asked after the first was answered.
    """
    for job, sights in facts.sights.items():
        finals = [sight for sight in sights if sight.state in TERMINAL]
        row = facts.rows.get(job)
        for final in finals:
            if row is not None and (row.replays < final.replays or (row.replays == final.replays and row.state != final.state)):
                yield f"{job}: was seen as {final.state} (run {final.replays}), and its row says {row.state} (run {row.replays})"
            yield from (f"{job}: was seen as {final.state}, then as {other.state}" for other in sights if _contradicts(final, other))


def _contradicts(final: Sight, other: Sight) -> bool:
    if other.state == "unknown":
        return False
    if other.state in TERMINAL and other.replays == final.replays:
        return other.state != final.state
    return other.since >= final.at and other.replays <= final.replays
