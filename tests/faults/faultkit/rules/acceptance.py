"""What an answer to a submission promises (README, Delivery guarantee: "202 means stored", "One end", "No answer is not a no")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from dtq.job import TERMINAL, JobView
from faultkit.facts import Facts, Row
from faultkit.history import Event

__all__ = ["accepted", "agreement", "content", "one_job", "refused", "started"]

DEFAULTS = {"type": "task", "queue": "default", "priority": "normal", "max_retries": None}
"""What a submission asks for that is found in its row, and what it is if it does not say."""


def accepted(facts: Facts) -> Iterator[str]:
    """Each accepted job has ended and has exactly one row (README, "202 means stored" and "One end")."""
    for job in sorted(facts.accepted.keys() - facts.rows.keys()):
        view = facts.views.get(job)
        yield f"{job}: accepted, and has no row; Redis says {view.state if view else 'nothing'}"
    for job in facts.twice:
        yield f"{job}: has more than one row"
    for row in facts.rows.values():
        if row.state not in TERMINAL:
            yield f"{row.id}: has a row, and is {row.state}"


def agreement(facts: Facts) -> Iterator[str]:
    """Redis and PostgreSQL say the same of a finished job (docs/architecture.md, "Outbox": both are written from one record)."""
    for job, view in facts.views.items():
        if view is None:  # forgotten after RESULTTTL
            continue
        if view.state not in TERMINAL:
            yield f"{job}: is still {view.state} in Redis" + (", beside its row" if job in facts.rows else "")
        elif job in facts.rows:
            yield from (f"{job}: {difference}" for difference in _differences(view, facts.rows[job]))


def _differences(view: JobView, row: Row) -> Iterator[str]:
    result = None if view.result is None else msgspec.json.decode(view.result)
    error = msgspec.to_builtins(view.error) or {}
    pairs = {
        "type": (view.type, row.type),
        "queue": (view.queue, row.queue),
        "priority": (view.priority, row.priority),
        "max_retries": (view.max_retries, row.max_retries),
        "schedule": (view.schedule, row.schedule),
        "state": (str(view.state), row.state),
        "replays": (view.replays, row.replays),
        "result": (result, row.result),
        "error": (error, row.error),
        "attempts": (list(view.attempts), row.attempts),
        "payload": (msgspec.json.decode(view.payload), row.plan),
    }
    for name, (redis, postgres) in pairs.items():
        if redis != postgres:
            yield f"{name} is {redis!r} in Redis, {postgres!r} in PostgreSQL"


def one_job(facts: Facts) -> Iterator[str]:
    """One idempotency key makes one job; a submission without one makes one each time it is sent (README, "Submitting")."""
    tags: defaultdict[str, set[str]] = defaultdict(set)
    for tag, sent in facts.sent.items():
        keys = {event.key for event in sent}
        if "" in keys and len(facts.ids(tag)) > len(sent):
            yield f"{tag}: sent {len(sent)} times, and is the jobs {sorted(facts.ids(tag))}"
        for key in keys - {""}:
            tags[key].add(tag)
    for key, some in tags.items():
        jobs = {job for tag in some for job in facts.ids(tag)}
        if len(jobs) > 1:
            yield f"the key {key} made the jobs {sorted(jobs)}"
    for row in facts.planned():
        if row.schedule is None and row.tag not in facts.sent:
            yield f"{row.id}: nobody sent {row.tag!r}"


def refused(facts: Facts) -> Iterator[str]:
    """What was refused each time it was sent never became a job (README: "nothing is queued then")."""
    for tag, count in facts.refused.items():
        if count == len(facts.sent[tag]) and facts.ids(tag):
            yield f"{tag}: refused, and is the job {sorted(facts.ids(tag))}"


def content(facts: Facts) -> Iterator[str]:
    """A job's row is of what was sent: no answer, entry or result of a batch has got mixed up with another's."""
    for job, tag in facts.accepted.items():
        if job in facts.rows and facts.rows[job].tag != tag:
            yield f"{job}: is the answer to {tag!r}, and its row is of {facts.rows[job].tag!r}"
    for row in facts.planned():
        if row.tag in facts.sent:
            yield from _changed(row, facts.sent[row.tag][0])
        if isinstance(row.result, dict) and row.result.get("tag", row.tag) != row.tag:
            yield f"{row.id}: has the result of {row.result['tag']!r}"


def _changed(row: Row, sent: Event) -> Iterator[str]:
    """What the row has otherwise than it was asked for, or does not have, or has besides."""
    wanted = {**DEFAULTS, **sent.fields}
    for name in DEFAULTS:
        if getattr(row, name) != wanted[name]:
            yield f"{row.id}: {name} was sent as {wanted[name]!r}, and is {getattr(row, name)!r}"
    payload = {**sent.plan, "tag": sent.tag}
    if row.plan != payload:
        yield f"{row.id}: its payload was sent as {payload!r}, and is {row.plan!r}"


def started(facts: Facts) -> Iterator[str]:
    """Whatever ran has ended with a row, also if its client had no answer (README, "One end")."""
    for job, runs in facts.executions.items():
        if job not in facts.rows:
            yield f"{job}: ran ({runs[0].tag}), and has no row"
