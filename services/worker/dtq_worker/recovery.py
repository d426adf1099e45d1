"""Finds jobs that were claimed for this worker without its knowledge, and gives them back.

When the connection breaks between a claim and its answer, the server may have handed out jobs that no one runs. And a
replica that takes over may not have heard of the last jobs' ends: it has them as claimed by a worker that is done with them.
Since this worker goes on renewing its lease, nobody would ever reclaim them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import ResponseError

from dtq.ids import make_id
from dtq.queue import keys
from dtq.queue.claims import ClaimedJob, Claims, Finish
from dtq.queue.connection import Client, translated

__all__ = ["Recovery"]

LATER = 6.0
"""Seconds until the second look: a server that hung may execute a claim after the worker has given up waiting for it."""

ROUTINE = 15.0
"""Seconds between looks when nothing has failed: a replica can take over without a call of this worker failing."""

MOST = 1000
"""Claims of one lane looked at, besides those this worker knows of."""

log = structlog.get_logger("dtq.worker")


class Recovery:
    """``known()`` answers (queue, lane, entry) of every claim that this worker runs or has yet to report the end of.

    No claim may be under way while :meth:`check` runs, nor a job on its way into the inbox.
    """

    def __init__(self, client: Client, claims: Claims, known: Callable[[], set[tuple[str, str, str]]]) -> None:
        """Look through ``client``, give back through ``claims``."""
        self._client = client
        self._claims = claims
        self._known = known
        self._looks: dict[str, list[float]] = {}

    def doubt(self, queue: str) -> None:
        """Note that a claim on ``queue`` was not answered."""
        now = time.monotonic()
        self._looks[queue] = [now, now + LATER]

    def doubts(self, queue: str) -> bool:
        """Whether it is time to look."""
        now = time.monotonic()
        return self._looks.setdefault(queue, [now + ROUTINE])[0] <= now

    async def check(self, queue: str) -> None:
        """Look.

        Raises:
            QueueUnavailable: the doubt remains.
        """
        looks = self._looks[queue]  # another doubt meanwhile makes new ones
        lost = [item for lane in keys.LANES for item in await self._lost(queue, lane)]
        if lost:
            log.warning("claims_given_back", queue=queue, jobs=[item.job.id for item in lost])
            await self._claims.finish(queue, lost)
        looks.pop(0)
        if not looks:
            looks.append(time.monotonic() + ROUTINE)

    async def _lost(self, queue: str, lane: str) -> list[Finish]:
        stream = keys.lane(queue, lane)
        known = self._known()
        with translated():
            try:
                pending = await self._client.xpending_range(stream, keys.GROUP, "-", "+", len(known) + MOST, self._claims.worker)
            except ResponseError:
                return []  # no such stream or group: nothing was claimed there
            entries = [item["message_id"] for item in pending]
            lost = [entry for entry in entries if (queue, lane, entry.decode()) not in known]
            return [Finish(_job(queue, lane, entry.decode(), await self._client.xrange(stream, entry, entry)), "h") for entry in lost]


def _job(queue: str, lane: str, entry: str, found: list[tuple[bytes, dict[bytes, bytes]]]) -> ClaimedJob:
    """As much of the job as handing it back needs."""
    fields: dict[bytes, Any] = found[0][1] if found else {}
    recorded = b"i" in fields
    job_id = fields[b"i"].decode(errors="replace") if recorded else make_id(entry, lane, queue)
    return ClaimedJob(job_id, queue, "", b"null", lane, entry, 0, recorded=recorded)
