"""Endpoints under /jobs."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
from collections.abc import Awaitable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dtq.config import QUEUE_NAME
from dtq.errors import IllegalTransition, InvalidRequest, NotFound
from dtq.ids import ID_PATTERN, parse_id
from dtq.job import TERMINAL, JobView, State, TerminalJob
from dtq.queue.views import terminal_view
from dtq.requests import parse_instant
from dtq_submitter.listing import Wanted, list_jobs
from dtq_submitter.openapi.answers import answers
from dtq_submitter.openapi.jobs import CANCELLED, CANCELLING, JOB, JOBS, OUTPUT, RETRIED
from dtq_submitter.problems import Problem, ProblemError
from dtq_submitter.services import Json, Services, check_queue, disconnected
from dtq_submitter.views import job_document
from dtq_submitter.waits import TooManyWaits

__all__ = ["jobs_router"]

MAX_WAIT = 60
_FILTERS = frozenset({"state", "type", "queue", "since", "until", "cursor", "limit"})

JobIdPath = Annotated[
    str,
    Path(
        description="A job's id, as POST /submit gave it.",
        examples=["0193f0c2a1b00000n-default"],
        json_schema_extra={"pattern": f"^{ID_PATTERN}$"},  # documented only: parse_id says better what is wrong
    ),
]


class _Jobs:
    """Looks jobs up: in Redis, else in PostgreSQL."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def get(self, job_id: str) -> JobView:
        """The job; raises NotFound, or StoreUnavailable when only PostgreSQL could know it."""
        view = await self._services.queue.get(job_id)
        if view is not None:
            return view
        return terminal_view(await self.row(job_id))

    async def row(self, job_id: str) -> TerminalJob:
        """The job's row in PostgreSQL."""
        row = await self._services.store.get(job_id)
        if row is None:
            raise NotFound(f"there is no job {job_id!r}; finished jobs are kept for {self._services.settings.retentiondays} days")
        return row

    async def wait(self, request: Request, job_id: str, seconds: float) -> JobView:
        """The job once it is terminal, or as it is when time is up."""
        view = await self.get(job_id)
        if view.state in TERMINAL or seconds <= 0:
            return view
        try:
            await _unless_gone(request, self._services.waits.wait(job_id, seconds))
        except TooManyWaits:
            detail = "too many callers wait for jobs; try again, or ask without wait"
            raise ProblemError(Problem(429, "too-many-waits", detail, headers={"Retry-After": "1"})) from None
        return await self.get(job_id)

    async def cancel(self, job_id: str) -> Response:
        """Cancel, and say what came of it."""
        state = await self._services.queue.cancel(job_id)
        if state is None:
            state = (await self.row(job_id)).state
        if state is State.RUNNING:
            return Json({"id": job_id, "state": "running", "cancel_requested": True}, 202)
        if state is State.CANCELLED:  # now or before: DELETE may be repeated when its answer was lost
            return Json({"id": job_id, "state": "cancelled"})
        raise IllegalTransition(f"the job has already {state}", state)

    async def retry(self, job_id: str) -> Response:
        """Put a failed or cancelled job back into its queue."""
        view = await self._services.queue.get(job_id)
        if view is not None and view.state not in (State.FAILED, State.CANCELLED):
            raise IllegalTransition(f"the job is {view.state}; only failed and cancelled jobs can be retried", view.state)
        row = await self.row(job_id) if view is None else None
        done = await self._services.queue.replay(job_id, row)
        if done is None:  # forgotten by Redis between the two looks
            done = await self._services.queue.replay(job_id, await self.row(job_id))
        if done is None:
            raise NotFound(f"there is no job {job_id!r}")
        return Json({"id": done.id, "state": str(done.state)}, 202, headers={"Location": f"/jobs/{done.id}"})

    async def output(self, job_id: str) -> Response:
        """Stream the file that the job produced."""
        view = await self.get(job_id)
        if view.output is None:
            if view.state not in TERMINAL:
                raise IllegalTransition(f"the job is {view.state}: there is no output yet", view.state)
            raise NotFound(f"the job has {view.state} and produced no file")
        stream = await self._services.blobs.get_stream(view.output)
        name = view.output.rpartition("/")[2]
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {
            "Content-Length": str(stream.info.size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingResponse(aiter(stream), media_type=kind, headers=headers)


def jobs_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["jobs"])
    jobs = _Jobs(services)

    @router.get("/jobs", operation_id="list_jobs", summary="List jobs", responses=answers({200: JOBS}, 422, 503))
    async def list_(
        request: Request,
        state: Annotated[
            list[str] | None, Query(description="States: repeated, or comma-separated.", examples=[["queued", "running"]])
        ] = None,
        type: Annotated[str | None, Query(max_length=200, description="Job type.", examples=["email"])] = None,
        queue: Annotated[
            str | None, Query(description="Queue.", examples=["default"], json_schema_extra={"pattern": f"^{QUEUE_NAME.pattern}$"})
        ] = None,
        since: Annotated[str | None, Query(description="Submitted then or later, RFC 3339.", examples=["2026-03-01T00:00:00Z"])] = None,
        until: Annotated[str | None, Query(description="Submitted before, RFC 3339.", examples=["2026-03-02T00:00:00+01:00"])] = None,
        cursor: Annotated[
            str | None, Query(max_length=2000, description="next_cursor of the page before.", examples=["WzEsIjAtMCJd"])
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="Most jobs on the page.", examples=[100])] = 50,
    ) -> Response:
        """Jobs that are not finished, newest first within their queue, then finished ones, newest first."""
        _known_only(request)
        wanted = Wanted(
            _states(state),
            _type(type),
            None if queue is None else check_queue(queue),
            _instant("since", since),
            _instant("until", until),
        )
        found, following = await list_jobs(services.queue, services.store, wanted, cursor, limit)
        return Json({"jobs": [job_document(job) for job in found], "next_cursor": following})

    @router.get("/jobs/{job_id}", operation_id="get_job", summary="Show a job", responses=answers({200: JOB}, 404, 422, 429, 503))
    async def show(
        request: Request,
        job_id: JobIdPath,
        wait: Annotated[
            float, Query(ge=0, le=MAX_WAIT, allow_inf_nan=False, description="Seconds to wait for the job's end.", examples=[30])
        ] = 0,
    ) -> Response:
        """The job with its attempts; with ``wait`` once it is finished, or as it is when the time is up."""
        parse_id(job_id)
        return Json(job_document(await jobs.wait(request, job_id, wait)))

    @router.delete(
        "/jobs/{job_id}",
        operation_id="cancel_job",
        summary="Cancel a job",
        responses=answers({200: CANCELLED, 202: CANCELLING}, 404, 409, 422, 503),
    )
    async def cancel(job_id: JobIdPath) -> Response:
        """A waiting job is cancelled at once (200); the worker of a running one is asked to stop it (202)."""
        return await jobs.cancel(job_id)

    @router.post(
        "/jobs/{job_id}/retry",
        operation_id="retry_job",
        summary="Retry a failed or cancelled job",
        status_code=202,
        responses=answers({202: RETRIED}, 404, 409, 422, 503),
    )
    async def retry(job_id: JobIdPath) -> Response:
        """The job runs again under its own id, with its retries afresh."""
        return await jobs.retry(job_id)

    @router.get(
        "/jobs/{job_id}/output",
        operation_id="get_job_output",
        summary="Download a job's output",
        response_class=Response,
        responses=answers({200: OUTPUT}, 404, 409, 422, 503),
    )
    async def output(job_id: JobIdPath) -> Response:
        """The file that the job produced. 409 while it has not finished, 404 when it produced none."""
        return await jobs.output(job_id)

    return router


async def _unless_gone(request: Request, waiting: Awaitable[Any]) -> None:
    """Await, but not longer than the client is there."""
    tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(disconnected(request))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
    if not tasks[0].cancelled():
        tasks[0].result()


def _known_only(request: Request) -> None:
    """A misspelt filter that was ignored would list everything."""
    unknown = [name for name in request.query_params if name not in _FILTERS]
    if unknown:
        known = ", ".join(sorted(_FILTERS))
        raise InvalidRequest(f"unknown parameter {unknown[0][:100]!r}", [(name[:100], f"unknown; known are {known}") for name in unknown])


def _states(given: list[str] | None) -> frozenset[State] | None:
    names = [name.strip() for item in given or [] for name in item.split(",") if name.strip()]
    bad = [name for name in names if name not in State.__members__.values()]
    if bad:
        known = ", ".join(State)
        raise InvalidRequest(f"unknown state {bad[0][:100]!r}", [("state", f"unknown state {bad[0][:100]!r}; known are {known}")])
    return frozenset(State(name) for name in names) or None


def _type(name: str | None) -> str | None:
    if name is not None and "\0" in name:  # no type has one, and PostgreSQL takes none
        raise InvalidRequest("type: NUL is not allowed", [("type", "NUL is not allowed")])
    return name


def _instant(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if len(text) > 6 and text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"  # a '+' that was not escaped in the URL
    try:
        return int(parse_instant(text).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{name}: {error}", [(name, str(error))]) from None
