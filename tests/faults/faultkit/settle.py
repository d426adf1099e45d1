"""Waits until a stand is at rest, gathers what is true then, and has the history checked."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from dtq.config import Settings
from dtq.job import TERMINAL, JobView
from dtq.queue import Queue
from faultkit.checker import Verdict, check
from faultkit.history import Event, read_history
from faultkit.remains import half_done
from faultkit.stand import Stand, tail, until

__all__ = ["accepted_jobs", "faults_told", "left_to_do", "settle", "settle_refused", "views_of"]

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
        if left_to_do(stand.redis_url):
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
    verdict.violations += faults_told(stand)
    return verdict


def faults_told(stand: Stand, size: int = 1500) -> list[str]:
    """Services that have ended by themselves, and what the submitters' logs say of requests that they failed to handle.

    Of each no more than the last ``size`` characters.
    """
    fallen = [service for service in stand.services.values() if service.fell()]
    lines = [line for service in stand.of("submitter") for line in service.output.read_text(errors="replace").splitlines()]
    found = [f"log: {line[-size:]}" for line in dict.fromkeys(lines) if "request_failed" in line]
    return [f"{service.name} has ended by itself: {tail(service.output, size)}" for service in fallen] + found


def settle_refused(stand: Stand) -> Verdict:
    """The same on a stand that has refused submissions for want of room: with 503 alone, and nothing was left half-done."""
    verdict = settle(stand)
    statuses = Counter(event.status for event in read_history(stand.history) if event.kind in ("unanswered", "refused"))
    odd = {status: count for status, count in statuses.items() if status not in (0, 503)}
    verdict.violations += half_done(stand.redis_url)
    verdict.violations += [f"{count} submissions were answered with {status}" for status, count in odd.items()]
    verdict.figures["refused with 503"] = statuses[503]
    return verdict


def left_to_do(redis_url: str) -> str:
    """Jobs that wait or run, and results on their way to PostgreSQL, in words; empty when there are none."""

    async def ask() -> str:
        queue = await Queue.connect(Settings(redisaddr=redis_url))
        try:
            names = await queue.queues()
            busy = [str(stats) for stats in await queue.stats(names) if stats.demand or stats.delayed]
            outbox = await queue.outbox_length(names)
            return "; ".join([*busy, *([f"{outbox} results"] if outbox else [])])
        finally:
            await queue.close()

    return asyncio.run(ask())
