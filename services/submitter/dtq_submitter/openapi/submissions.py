"""POST /submit and /submit/batch, which FastAPI does not route."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from dtq.job import Priority, State
from dtq.requests import Requests
from dtq_submitter.openapi.answers import LOCATION, REF, Answer, answers, json_answer
from dtq_submitter.openapi.models import Instant, JobId, Model, Name

__all__ = ["Submitted", "SubmittedBatch", "submit_paths"]


class Submitted(Model):
    """A job that was taken."""

    id: JobId
    state: State
    """queued or scheduled; of a repeat, the job's present state."""
    queue: Name
    type: Annotated[str, Field(examples=["email"])]
    priority: Priority
    run_at: Instant = ""
    """When the first attempt is due; only of a scheduled job."""


class SubmittedBatch(Model):
    """The jobs of a batch, in the order sent."""

    jobs: list[Submitted]


_EXAMPLE: dict[str, Any] = {
    "id": "0193f0c2a1b00000n-default",
    "state": "queued",
    "queue": "default",
    "type": "email",
    "priority": "normal",
}
_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same as the field idempotency_key: the same key again answers with the same job. Printable ASCII.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "example": "order-4711",
}
_ERRORS = (400, 408, 409, 413, 415, 422, 429, 503)


def submit_paths(requests: Requests) -> dict[str, Any]:
    """The Path Items; none while there is no job type."""
    if not requests.types:
        return {}
    location = {"Location": {**LOCATION["Location"], "example": f"/jobs/{_EXAMPLE['id']}"}}
    one = {
        200: json_answer("The repeat of an earlier request.", Submitted, _EXAMPLE, location),
        202: json_answer("Accepted: it is durable.", Submitted, _EXAMPLE, location),
    }
    many = {
        200: json_answer("All are repeats of earlier requests.", SubmittedBatch, {"jobs": [_EXAMPLE]}),
        202: json_answer("Accepted: all are durable.", SubmittedBatch, {"jobs": [_EXAMPLE]}),
    }
    single = _operation("submit", "Submit a job", "SubmitRequest", one, _examples(requests))
    single["parameters"] = [_KEY]
    batch = _operation("submit_batch", "Submit up to 1,000 jobs, all or none", "BatchRequest", many, _batch_example(requests))
    return {"/submit": {"post": single}, "/submit/batch": {"post": batch}}


def _operation(name: str, summary: str, model: str, good: dict[int, Answer], examples: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": REF.format(model=model)}, **({"examples": examples} if examples else {})}
    return {
        "tags": ["submit"],
        "operationId": name,
        "summary": summary,
        "description": "A 202 means committed.",
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {str(status): answer for status, answer in answers(good, *_ERRORS).items()},
    }


def _examples(requests: Requests) -> dict[str, Any]:
    return {
        f"{name}_{number}": {"summary": job_type.summary or name, "value": {"type": name, "payload": dict(example)}}
        for name, job_type in requests.types.items()
        for number, example in enumerate(job_type.examples, 1)
    }


def _batch_example(requests: Requests) -> dict[str, Any]:
    jobs = [example["value"] for example in _examples(requests).values()]
    return {"batch": {"summary": "One job of each example", "value": {"jobs": jobs}}} if jobs else {}
