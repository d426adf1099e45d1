"""POST /submit and /submit/batch, in plain ASGI: the request's bytes are parsed once and the answer is put together by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from starlette.types import Receive, Scope

from dtq.job import JobView, NewJob
from dtq.queue import Submitted
from dtq.requests import Requests
from dtq_submitter.body import BodyHeaders, read_body
from dtq_submitter.coalesce import Coalescer, SubmitQueue
from dtq_submitter.metrics import Metrics
from dtq_submitter.views import rfc3339_ms

__all__ = ["Answer", "SubmitBatch", "SubmitOne"]

Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]
"""Status, body, and headers besides Content-Type and Content-Length."""


class LookupQueue(SubmitQueue, Protocol):
    """What submitting needs of :class:`dtq.queue.Queue`."""

    async def get_many(self, job_ids: Sequence[str]) -> list[JobView | None]:
        """Jobs in Redis, in this order."""
        ...


async def repeats(queue: LookupQueue, done: list[Submitted]) -> list[Submitted]:
    """The answers, where those to repeated requests say the present state of the job, as far as Redis knows it."""
    old = [one.id for one in done if not one.created]
    if not old:
        return done
    views = {view.id: view for view in await queue.get_many(old) if view is not None}
    return [
        one if one.created or (view := views.get(one.id)) is None else Submitted(one.id, view.state, created=False, run_at=view.run_at)
        for one in done
    ]


class SubmitOne:
    """One job. 202: it is durable. 200: the repeat of a request with the same idempotency key."""

    def __init__(self, requests: Requests, queue: LookupQueue, limit: int, metrics: Metrics) -> None:
        self._requests = requests
        self._queue = queue
        self._coalescer = Coalescer(queue)
        self._limit = limit
        self._metrics = metrics
        self._names = _quoted(requests)

    async def __call__(self, scope: Scope, receive: Receive) -> Answer:
        """Answer a request; every error is raised."""
        headers = BodyHeaders(scope["headers"])
        headers.check(self._limit)
        job = self._requests.parse(await read_body(receive, self._limit), headers.idempotency_key)
        done = await self._coalescer.submit(job)
        if not done.created:
            done = (await repeats(self._queue, [done]))[0]
        location = f"{scope.get('root_path', '')}/jobs/{done.id}".encode("latin-1", "replace")
        body = _document(job, done, self._names)
        if not done.created:
            return 200, body, [(b"location", location)]
        self._metrics.submitted(job.queue, job.type)
        return 202, body, [(b"location", location)]


class SubmitBatch:
    """Up to 1,000 jobs, all or none. 200 when every one is the repeat of an earlier request."""

    def __init__(self, requests: Requests, queue: LookupQueue, limit: int, metrics: Metrics) -> None:
        self._requests = requests
        self._queue = queue
        self._limit = limit
        self._metrics = metrics
        self._names = _quoted(requests)

    async def __call__(self, scope: Scope, receive: Receive) -> Answer:
        """Answer a request; every error is raised."""
        headers = BodyHeaders(scope["headers"])
        headers.check(self._limit)
        jobs = self._requests.parse_batch(await read_body(receive, self._limit))
        done = await repeats(self._queue, await self._queue.submit(jobs))
        self._count(jobs, done)
        body = b'{"jobs":[' + b",".join(_document(job, one, self._names) for job, one in zip(jobs, done, strict=True)) + b"]}"
        return 202 if any(one.created for one in done) else 200, body, []

    def _count(self, jobs: Sequence[NewJob], done: Sequence[Submitted]) -> None:
        fresh = Counter((job.queue, job.type) for job, one in zip(jobs, done, strict=True) if one.created)
        for (queue, job_type), count in fresh.items():
            self._metrics.submitted(queue, job_type, count)


def _quoted(requests: Requests) -> dict[str, str]:
    """Type names as JSON texts. Ids, states, queues and priorities need no escaping."""
    return {name: msgspec.json.encode(name).decode() for name in requests.types}


def _document(job: NewJob, done: Submitted, names: Mapping[str, str]) -> bytes:
    run_at = f',"run_at":"{rfc3339_ms(done.run_at)}"' if done.run_at is not None else ""
    return (
        f'{{"id":"{done.id}","state":"{done.state}","queue":"{job.queue}","type":{names[job.type]},"priority":"{job.priority}"{run_at}}}'
    ).encode()
