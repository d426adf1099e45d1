"""Running a schedule by hand, as ``kubectl create job --from=cronjob/NAME`` does: at once, whatever its policy says."""

from __future__ import annotations

from dtq.errors import NotFound
from dtq.queue import FireTick, Queue
from dtq.schedule.entry import Entry
from dtq.schedule.store import Observed, ScheduleStore

__all__ = ["forget", "trigger"]

BY_HAND = 0
"""In place of a tick: a run of its own, under no policy."""


async def trigger(store: ScheduleStore, queue: Queue, name: str) -> str:
    """Submit a job from the template of schedule ``name``, suspended or not, and return its id.

    It counts as a run of the schedule: it is in the status, under Forbid no tick starts while it runs, and Replace
    cancels it. ``lastScheduleTime`` stays.

    Raises:
        NotFound: there is no such schedule.
        QueueUnavailable: the server does not answer.
    """
    entry = await store.get(name)
    if entry is None:
        raise NotFound(f"there is no schedule {name!r}")
    template = entry.spec.jobTemplate
    fired = await queue.fire(FireTick(entry.uid, name, BY_HAND, "Allow", template.job()))
    job_id = fired.id or ""
    await store.observe(entry, [Observed(job_id, await store.now(), "live")], 500)
    return job_id


async def forget(queue: Queue, entry: Entry) -> None:
    """Let the queues forget a schedule that was deleted."""
    names = {entry.spec.jobTemplate.queue} | entry.queues
    for name in sorted(names):
        await queue.forget_schedule(name, entry.uid)
