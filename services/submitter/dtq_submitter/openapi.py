"""The OpenAPI document: FastAPI's, with the two hot paths, which it does not route, and the problem document added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from dtq import __version__
from dtq.requests import Requests
from dtq.schedule.spec import ScheduleSpec

__all__ = ["openapi_builder", "responses", "schedule_body"]

REF = "#/components/schemas/{model}"

_WHAT = {
    400: "The body is not JSON.",
    401: "No API key, or an unknown one.",
    403: "The API key lacks the role.",
    404: "There is none.",
    409: "The present state, or an earlier request, contradicts it.",
    413: "The body is larger than MAXBODYBYTES.",
    415: "The body's media type or encoding is not JSON's.",
    422: "A field is wrong; each is named.",
    429: "Too much at once; Retry-After says when to try again.",
    500: "The server failed.",
    503: "A server behind it does not answer.",
}

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem document.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:dtq:problem:invalid-request"]},
        "title": {"type": "string", "examples": ["Unprocessable Entity"]},
        "status": {"type": "integer", "examples": [422]},
        "detail": {"type": "string", "examples": ["payload.to: give at least one recipient in to, cc or bcc"]},
        "instance": {"type": "string", "examples": ["/submit"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "examples": ["payload.to"]},
                    "message": {"type": "string", "examples": ["give at least one recipient in to, cc or bcc"]},
                },
            },
        },
        "state": {"type": "string", "description": "With 409: the job's state."},
    },
}

_SUBMITTED: dict[str, Any] = {
    "type": "object",
    "title": "Submitted",
    "required": ["id", "state", "queue", "type", "priority"],
    "properties": {
        "id": {"type": "string", "examples": ["0193f0c2a1b00000n-default"]},
        "state": {"type": "string", "description": "queued or scheduled; of a repeat, the job's present state."},
        "queue": {"type": "string", "examples": ["default"]},
        "type": {"type": "string", "examples": ["email"]},
        "priority": {"type": "string", "enum": ["high", "normal", "low"]},
        "run_at": {"type": "string", "format": "date-time", "description": "Of a scheduled job."},
    },
}


def responses(*statuses: int, cancel: bool = False) -> dict[int | str, dict[str, Any]]:
    """The error answers of an endpoint, and those that every one has."""
    found: dict[int | str, dict[str, Any]] = {status: _problem(status) for status in sorted({*statuses, 401, 403, 500})}
    if cancel:
        found[202] = {"description": "It runs; its worker was asked to stop it."}
    return found


def _problem(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _WHAT[status], "content": content}


def schedule_body() -> dict[str, Any]:
    """The request body of PUT /schedules/{name}, which is read without FastAPI."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": REF.format(model="ScheduleSpec")}}}}}


def openapi_builder(app: FastAPI, requests: Requests) -> Callable[[], dict[str, Any]]:
    """What ``app.openapi`` is replaced by; the document is made once."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, requests)
        return app.openapi_schema

    return build


def _document(app: FastAPI, requests: Requests) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=__version__, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas.update(Problem=_PROBLEM, Submitted=_SUBMITTED)
    schemas["ScheduleSpec"] = _hoist(TypeAdapter(ScheduleSpec).json_schema(ref_template=REF), schemas)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    document["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    document["paths"] = {**_hot_paths(requests, schemas), **document["paths"]}
    return document


def _hoist(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Move a schema's own definitions to the components."""
    schemas.update(schema.pop("$defs", {}))
    return schema


def _hot_paths(requests: Requests, schemas: dict[str, Any]) -> dict[str, Any]:
    if requests.one is None or requests.batch is None:
        return {}
    schemas["SubmitRequest"] = _hoist(requests.one.json_schema(ref_template=REF), schemas)
    schemas["BatchRequest"] = _hoist(requests.batch.json_schema(ref_template=REF), schemas)
    one = {"$ref": REF.format(model="Submitted")}
    many = {"type": "object", "required": ["jobs"], "properties": {"jobs": {"type": "array", "items": one}}}
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same as the field idempotency_key.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    single = _operation("submit", "Submit a job", "SubmitRequest", one, _examples(requests))
    single["parameters"] = [key]
    single["responses"]["202"]["headers"] = {"Location": {"schema": {"type": "string"}, "description": "/jobs/ID"}}
    batch = _operation("submit_batch", "Submit up to 1,000 jobs, all or none", "BatchRequest", many, {})
    return {"/submit": {"post": single}, "/submit/batch": {"post": batch}}


def _operation(name: str, summary: str, model: str, answer: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": REF.format(model=model)}}
    if examples:
        content["examples"] = examples
    body = {"application/json": {"schema": answer}}
    errors = {str(status): _problem(status) for status in (400, 401, 403, 409, 413, 415, 422, 429, 500, 503)}
    return {
        "tags": ["submit"],
        "operationId": name,
        "summary": summary,
        "description": "A 202 means committed.",
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": {"description": "The repeat of an earlier request.", "content": body},
            "202": {"description": "Accepted: it is durable.", "content": body},
            **errors,
        },
    }


def _examples(requests: Requests) -> dict[str, Any]:
    return {
        f"{name}_{number}": {"summary": job_type.summary or name, "value": {"type": name, "payload": dict(example)}}
        for name, job_type in requests.types.items()
        for number, example in enumerate(job_type.examples, 1)
    }
