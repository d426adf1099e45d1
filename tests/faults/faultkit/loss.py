"""Says what holds after Redis has lost the end of what it had acknowledged, as ``appendfsync everysec`` allows. Pure.

What may be lost is every change of the last moments: that a job was accepted, claimed, ended. So after such a loss

- an accepted job may have *vanished*: no row, and Redis does not know it. Its 202 must have come after the last fsync, to a request
  that was sent to a server that was not dead yet.
- a job whose end was lost runs again. Its row stays that of the first end stored, and is one.
- nothing is half-done: a script's changes are one transaction of the file. A job that Redis knows has its idempotency key;
  a key leads to a job that exists; what does not exist is nowhere pending (faultkit.remains.half_done looks for that).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dtq.job import TERMINAL, JobView
from faultkit.checker import Verdict
from faultkit.history import Event

__all__ = ["Loss", "check_loss", "vanished"]

ENDS = {"ok": "succeeded", "flaky": "succeeded", "permanent": "failed", "always": "failed"}


class Loss(NamedTuple):
    """One crash, in monotonic ns: what was acknowledged from ``synced`` on may be lost.

    At ``dead`` it had no process any more: what is asked later its next life answers. When an answer is noted says little, as its
    client may be held up for any time.
    """

    synced: int
    crash: int
    dead: int


def vanished(history: Iterable[Event], rows: Mapping[str, Any], views: Mapping[str, JobView | None]) -> dict[str, Event]:
    """Accepted jobs that nobody knows any more, with the event of their first acceptance."""
    gone: dict[str, Event] = {}
    for event in history:
        if event.kind == "accepted" and event.job not in rows and views.get(event.job) is None:
            gone.setdefault(event.job, event)
    return gone


def check_loss(
    history: Sequence[Event],
    rows: Sequence[Mapping[str, Any]],
    views: Mapping[str, JobView | None],
    idempotent: Mapping[str, str],
    losses: Sequence[Loss],
) -> Verdict:
    """Check a history at rest after ``losses``.

    ``idempotent``: what idempotency keys lead to. Jobs must not have been cancelled or retried by hand.
    """
    by_id = {str(row["id"]): row for row in rows}
    verdict = Verdict()
    found = verdict.violations
    if len(by_id) != len(rows):
        found.append(f"{len(rows) - len(by_id)} jobs have more than one row")
    gone = vanished(history, by_id, views)
    ages = []
    sent = {event.tag: [known.at for known in history if known.kind == "sent" and known.tag == event.tag] for event in gone.values()}
    for job, event in gone.items():
        asked = max(at for at in sent[event.tag] if at <= event.at)
        age = next(((loss.crash - event.at) / 1e9 for loss in losses if loss.synced <= event.at and asked <= loss.dead), None)
        if age is None:
            found.append(f"{job}: vanished, and was accepted when it was synced")
        else:
            ages.append(age)
    plans = {event.tag: event.plan for event in history if event.kind == "sent"}
    keys = {event.tag: event.key for event in history if event.kind == "sent" and event.key}
    for event in history:
        if event.kind != "accepted" or event.job in gone:
            continue
        found += _of_job(event, ENDS[plans[event.tag].get("kind", "ok")], by_id, views)
        if event.tag in keys and views.get(event.job) is not None and idempotent.get(keys[event.tag]) != event.job:
            found.append(f"{event.job}: Redis knows it, and its idempotency key leads to {idempotent.get(keys[event.tag])}")
    found += _twins(history, gone)
    found += [
        f"{key}: an idempotency key of the job {job}, which does not exist"
        for key, job in idempotent.items()
        if job not in by_id and views.get(job) is None
    ]
    ended = Counter(event.job for event in history if event.kind == "end" and event.state == "ok")
    verdict.figures |= {
        "accepted": len({event.job for event in history if event.kind == "accepted"}),
        "vanished": len(gone),
        "oldest vanished, s before the crash": round(max(ages, default=0.0), 3),
        "succeeded twice": sum(count > 1 for count in ended.values()),
    }
    return verdict


def _twins(history: Sequence[Event], gone: Mapping[str, Event]) -> list[str]:
    """Keys that were promised two jobs of which neither vanished: a client sends one again only if it knows of no job."""
    jobs: defaultdict[str, set[str]] = defaultdict(set)
    keyed = {event.tag for event in history if event.kind == "sent" and event.key}
    for event in history:
        if event.kind == "accepted" and event.tag in keyed and event.job not in gone:
            jobs[event.tag].add(event.job)
    return [f"{tag}: its idempotency key made the jobs {sorted(some)}" for tag, some in jobs.items() if len(some) > 1]


def _of_job(event: Event, wanted: str, rows: Mapping[str, Mapping[str, Any]], views: Mapping[str, JobView | None]) -> list[str]:
    """What is wrong with a job that has not vanished."""
    job, view = event.job, views.get(event.job)
    row = rows.get(job)
    found = []
    if view is not None and view.state not in TERMINAL:
        found.append(f"{job}: still {view.state}")
    if row is None:
        found.append(f"{job}: Redis knows it, and it has no row")
    elif row["state"] != wanted:
        found.append(f"{job}: its row says {row['state']}, planned was {wanted}")
    elif view is not None and view.state in TERMINAL and view.state != row["state"]:
        found.append(f"{job}: {view.state} in Redis, {row['state']} in PostgreSQL")
    return list(dict.fromkeys(found))
