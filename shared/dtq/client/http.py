"""Clients over HTTP. Both have the same methods; ``api_key`` is sent as a bearer token (RFC 6750)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any, Self

import httpx

from dtq.client.calls import BATCH, JobInfo, QueueInfo, Receipt, batch_body, error_of, read
from dtq.client.spec import Job, body_of
from dtq.errors import Unavailable

__all__ = ["AsyncClient", "Client"]

WAIT_STEP = 20.0
"""Seconds that one request waits for a job: proxies end idle requests after 60 s or so."""
TIMEOUT = 30.0
"""Seconds to wait for an answer, besides what a request asks to wait."""

_JSON = {"Content-Type": "application/json"}


def _headers(api_key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def _checked(response: httpx.Response, queue: str = "") -> bytes:
    if response.status_code >= 400:
        raise error_of(response.status_code, response.content, queue)
    return response.content


def _away(error: httpx.TransportError) -> Unavailable:
    return Unavailable(f"DTQ does not answer: {error or type(error).__name__}")


def _jobs(content: bytes) -> list[Receipt]:
    answer: dict[str, list[Receipt]] = read(content, dict[str, list[Receipt]])
    return answer["jobs"]


class Client:
    """A connection to DTQ's API at ``url``. Close it, or use it in a ``with`` block. Safe to share between threads.

    Every method raises :class:`dtq.errors.Unavailable` when no answer comes; a job may have been accepted all the same,
    which an idempotency key makes safe to repeat.
    """

    def __init__(self, url: str, *, api_key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(api_key), timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, *, queue: str = "", **options: Any) -> bytes:
        try:
            return _checked(self._http.request(method, path, **options), queue)
        except httpx.TransportError as error:
            raise _away(error) from error

    def submit(self, job: Job) -> Receipt:
        """Submit one job. Raises InvalidRequest, IdempotencyConflict, QueueFull."""
        receipt: Receipt = read(self._call("POST", "/submit", content=body_of(job), headers=_JSON, queue=job.queue), Receipt)
        return receipt

    def submit_many(self, jobs: Iterable[Job]) -> list[Receipt]:
        """Submit jobs, 1,000 at a time. Each thousand is accepted whole or not at all; an error leaves earlier ones in."""
        source, done = iter(jobs), list[Receipt]()
        while bodies := [body_of(job) for job in islice(source, BATCH)]:
            done += _jobs(self._call("POST", "/submit/batch", content=batch_body(bodies), headers=_JSON))
        return done

    def get(self, job_id: str) -> JobInfo:
        """A job. Raises NotFound."""
        info: JobInfo = read(self._call("GET", f"/jobs/{job_id}"), JobInfo)
        return info

    def wait(self, job_id: str, timeout: float) -> JobInfo:
        """The job as soon as it is terminal, or as it is after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            step = max(0.0, min(WAIT_STEP, deadline - time.monotonic()))
            content = self._call("GET", f"/jobs/{job_id}", params={"wait": f"{step:.3f}"}, timeout=TIMEOUT + step)
            info: JobInfo = read(content, JobInfo)
            if info.finished or time.monotonic() >= deadline:
                return info

    def cancel(self, job_id: str) -> None:
        """Cancel a job that is not finished; a running one ends soon after. Raises NotFound, IllegalTransition."""
        self._call("DELETE", f"/jobs/{job_id}")

    def retry(self, job_id: str) -> None:
        """Run a failed or cancelled job again, under its own id. Raises NotFound, IllegalTransition."""
        self._call("POST", f"/jobs/{job_id}/retry")

    def queue(self, name: str = "default") -> QueueInfo:
        """Numbers of a queue."""
        info: QueueInfo = read(self._call("GET", f"/queues/{name}"), QueueInfo)
        return info


class AsyncClient:
    """:class:`Client` with coroutines."""

    def __init__(self, url: str, *, api_key: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(api_key), timeout=TIMEOUT, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(self, method: str, path: str, *, queue: str = "", **options: Any) -> bytes:
        try:
            return _checked(await self._http.request(method, path, **options), queue)
        except httpx.TransportError as error:
            raise _away(error) from error

    async def submit(self, job: Job) -> Receipt:
        """See :meth:`Client.submit`."""
        content = await self._call("POST", "/submit", content=body_of(job), headers=_JSON, queue=job.queue)
        receipt: Receipt = read(content, Receipt)
        return receipt

    async def submit_many(self, jobs: Iterable[Job]) -> list[Receipt]:
        """See :meth:`Client.submit_many`."""
        source, done = iter(jobs), list[Receipt]()
        while bodies := [body_of(job) for job in islice(source, BATCH)]:
            done += _jobs(await self._call("POST", "/submit/batch", content=batch_body(bodies), headers=_JSON))
        return done

    async def get(self, job_id: str) -> JobInfo:
        """See :meth:`Client.get`."""
        info: JobInfo = read(await self._call("GET", f"/jobs/{job_id}"), JobInfo)
        return info

    async def wait(self, job_id: str, timeout: float) -> JobInfo:  # noqa: ASYNC109 - the server waits, not we
        """See :meth:`Client.wait`."""
        deadline = time.monotonic() + timeout
        while True:
            step = max(0.0, min(WAIT_STEP, deadline - time.monotonic()))
            content = await self._call("GET", f"/jobs/{job_id}", params={"wait": f"{step:.3f}"}, timeout=TIMEOUT + step)
            info: JobInfo = read(content, JobInfo)
            if info.finished or time.monotonic() >= deadline:
                return info

    async def cancel(self, job_id: str) -> None:
        """See :meth:`Client.cancel`."""
        await self._call("DELETE", f"/jobs/{job_id}")

    async def retry(self, job_id: str) -> None:
        """See :meth:`Client.retry`."""
        await self._call("POST", f"/jobs/{job_id}/retry")

    async def queue(self, name: str = "default") -> QueueInfo:
        """See :meth:`Client.queue`."""
        info: QueueInfo = read(await self._call("GET", f"/queues/{name}"), QueueInfo)
        return info
