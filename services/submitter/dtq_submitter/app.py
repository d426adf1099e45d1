"""The app, put together from its parts. Nothing is connected or read from the environment here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from dtq import __version__
from dtq.blobs import BlobStore
from dtq.config import Settings
from dtq.errors import DtqError, Unavailable
from dtq.queue import Queue
from dtq.registry import Registry
from dtq.requests import Requests
from dtq.schedule.store import ScheduleStore
from dtq.storage import Store
from dtq.storage.metrics import PoolCollector
from dtq_submitter.front import Front, HotEndpoint
from dtq_submitter.jobs import jobs_router
from dtq_submitter.keyfile import KeyFile
from dtq_submitter.metrics import Metrics
from dtq_submitter.openapi import openapi_builder
from dtq_submitter.origin import only_local
from dtq_submitter.problems import MEDIA_TYPE, Problem, ProblemError, problem_of
from dtq_submitter.queues import queues_router
from dtq_submitter.schedules import schedules_router
from dtq_submitter.services import Services
from dtq_submitter.submit import SubmitBatch, SubmitOne
from dtq_submitter.system import system_router
from dtq_submitter.waits import Waits

__all__ = ["Api", "create_app"]


class Api(FastAPI):
    """FastAPI behind :class:`Front`. ``waits`` are the long polls, to be let go at shutdown."""

    front: Front
    waits: Waits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self.front(scope, receive, send)


def create_app(settings: Settings, queue: Queue, store: Store, schedules: ScheduleStore, registry: Registry, blobs: BlobStore) -> Api:
    """The app on connected services; whoever made them closes them.

    Raises:
        ConfigError: APIKEYSFILE cannot be used.
    """
    keys = KeyFile(settings.apikeysfile) if settings.apikeysfile else None
    requests, metrics, waits = Requests(registry.types), Metrics(), Waits(queue)
    metrics.registry.register(PoolCollector(store.pool_stats))
    services = Services(settings, queue, store, schedules, registry, blobs, requests, waits, metrics)
    app = Api(title="DTQ", version=__version__, description="A distributed task queue. A 202 means committed.", redoc_url=None)
    app.waits = waits
    for router in (jobs_router, queues_router, schedules_router, system_router):
        app.include_router(router(services))
    app.openapi = openapi_builder(app, requests, keys=keys is not None)  # type: ignore[method-assign]
    _handle_errors(app)
    limit = settings.maxbodybytes
    hot: dict[str, HotEndpoint] = {
        "/submit": SubmitOne(requests, queue, limit, metrics),
        "/submit/batch": SubmitBatch(requests, queue, limit, metrics),
    }
    app.front = Front(super(Api, app).__call__, hot, keys, metrics, local=only_local(settings))
    return app


def _handle_errors(app: FastAPI) -> None:
    async def known(request: Request, error: Exception) -> Response:
        return _response(request, problem_of(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - that is what it is registered for
        errors = [(str(item["loc"][-1]), str(item["msg"])) for item in error.errors()]
        return _response(request, Problem(422, "invalid-request", f"{errors[0][0]}: {errors[0][1]}", errors))

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - that is what it is registered for
        return _response(request, _framework_problem(error, allowed(request.url.path)))

    @cache
    def patterns() -> list[tuple[re.Pattern[str], frozenset[str]]]:
        return [(compile_path(path)[0], frozenset(map(str.upper, item))) for path, item in app.openapi()["paths"].items()]

    def allowed(path: str) -> str:
        """The methods that a path takes; the router knows only those of the first route that it found."""
        item = app.openapi()["paths"].get(path)  # a path without parameters goes before one with
        found = map(str.upper, item) if item else frozenset().union(*(methods for pattern, methods in patterns() if pattern.match(path)))
        return ", ".join(sorted(found))

    for kind in (DtqError, Unavailable, ProblemError, Exception):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, framework)


def _framework_problem(error: HTTPException, allowed: str) -> Problem:
    headers: Mapping[str, str] = error.headers or {}
    if error.status_code == 404:
        return Problem(404, "no-such-path", "there is nothing at this path; /docs lists what there is", headers=headers)
    if error.status_code == 405:
        allowed = allowed or headers.get("Allow", "")  # /docs is not in the document
        return Problem(405, "wrong-method", f"this path takes {allowed}", headers={"Allow": allowed})
    return Problem(error.status_code, "http", str(error.detail), headers=headers)


def _response(request: Request, problem: Problem) -> Response:
    return Response(problem.body(request.url.path), problem.status, dict(problem.headers), MEDIA_TYPE)
