"""Waits until a stand is at rest, gathers what is true then, and has the history checked."""

from __future__ import annotations

import asyncio
from typing import Any

from dtq.config import Settings
from dtq.job import TERMINAL, JobView
from dtq.queue import Queue
from faultkit.checker import Verdict, check
from faultkit.history import Event, read_history
from faultkit.stand import Stand, until

__all__ = ["accepted_jobs", "settle", "views_of"]

CHUNK = 500


def accepted_jobs(history: list[Event]) -> list[str]:
    """Ids that a client was promised, each once, in the order of the promises."""
    return list(dict.fromkeys(event.job for event in history if event.kind == "accepted"))


def views_of(redis_url: str, jobs: list[str]) -> dict[str, JobView | None]:
    """What Redis says of these jobs."""

    async def ask() -> dict[str, JobView | None]:
        queue = await Queue.connect(Settings(redisaddr=redis_url))
        try:
            found: dict[str, JobView | None] = {}
            for start in range(0, len(jobs), CHUNK):
                some = jobs[start : start + CHUNK]
                found |= dict(zip(some, await queue.get_many(some), strict=True))
            return found
        finally:
            await queue.close()

    return asyncio.run(ask())


def settle(stand: Stand, seconds: float = 120.0, **options: Any) -> Verdict:
    """Wait until every queue is empty and every accepted job has its row, then check the history.

    What does not come to rest in time is not raised: the checker names the jobs that are missing. ``options`` are those of check.
    """
    jobs = accepted_jobs(read_history(stand.history))

    def at_rest() -> bool:
        if not _empty(stand):
            return False
        rows = stand.ids()
        if any(job not in rows for job in jobs):
            return False
        return all(view is None or view.state in TERMINAL for view in views_of(stand.redis_url, jobs).values())

    late = ""
    try:
        until("everything is at rest", at_rest, seconds, pause=0.3)
    except AssertionError as error:
        late = str(error)
    rows = stand.rows()
    known = list(dict.fromkeys([*jobs, *(str(row["id"]) for row in rows)]))
    verdict = check(read_history(stand.history), rows, views_of(stand.redis_url, known), **options)
    if late:
        verdict.violations.append(late)
    return verdict


def _empty(stand: Stand) -> bool:
    """Whether no job is left in any queue, and no result is on its way."""

    async def ask() -> bool:
        queue = await Queue.connect(Settings(redisaddr=stand.redis_url))
        try:
            names = await queue.queues()
            return all(stats.demand == 0 and stats.delayed == 0 for stats in await queue.stats(names)) and not await queue.outbox_length(
                names
            )
        finally:
            await queue.close()

    return asyncio.run(ask())
