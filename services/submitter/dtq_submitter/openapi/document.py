"""Puts the document together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from dtq import __version__
from dtq.requests import Requests
from dtq_submitter.openapi.jobs import JOB, JOBS
from dtq_submitter.openapi.links import add_links
from dtq_submitter.openapi.schedules import SCHEDULE, SCHEDULES
from dtq_submitter.openapi.schemas import schemas
from dtq_submitter.openapi.submissions import submit_paths
from dtq_submitter.openapi.system import TYPES

__all__ = ["openapi_builder"]

_ROLES = (
    "Needed when APIKEYSFILE is set. Roles: read for GET, submit for /submit and /submit/batch, admin for all else; "
    "each may do what the ones before it may."
)
_SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": _ROLES},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": _ROLES},
}
_TAGS = [
    {"name": "submit", "description": "Hand in jobs."},
    {"name": "jobs", "description": "Look at jobs, cancel and retry them."},
    {"name": "queues", "description": "Numbers of queues; pause and resume them."},
    {"name": "schedules", "description": "Start jobs by cron lines, as Kubernetes' CronJob does."},
    {"name": "system", "description": "Job types, probes and metrics."},
]


def openapi_builder(app: FastAPI, requests: Requests, *, keys: bool) -> Callable[[], dict[str, Any]]:
    """What ``app.openapi`` is replaced by; the document is made once. ``keys``: whether API keys are needed."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, requests, keys)
        return app.openapi_schema

    return build


def _document(app: FastAPI, requests: Requests, keys: bool) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=__version__, description=app.description, routes=app.routes, tags=_TAGS)
    document["components"] = {"schemas": schemas(requests), "securitySchemes": _SECURITY_SCHEMES}
    document["security"] = [*([] if keys else [{}]), {"bearer": []}, {"apiKey": []}]
    _restore_nulls(document["paths"])
    # The answers of a queue are one object in several operations: links must not be.
    document["paths"] = copy.deepcopy({**submit_paths(requests), **document["paths"]})
    add_links(document["paths"])
    return document


def _restore_nulls(paths: dict[str, Any]) -> None:
    """FastAPI drops every null from the document, those within examples too; these are put in again."""
    bodies = [answer["content"]["application/json"] for answer in (JOB, JOBS, SCHEDULE, SCHEDULES, TYPES)]
    whole = {body["schema"]["$ref"]: body["example"] for body in bodies}
    for operation in (operation for item in paths.values() for operation in item.values()):
        for answer in operation["responses"].values():
            body = answer.get("content", {}).get("application/json", {})
            if (name := body.get("schema", {}).get("$ref")) in whole:
                body["example"] = whole[name]
