"""Answers of /types, the probes and /metrics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dtq_submitter.openapi.answers import Answer, json_answer
from dtq_submitter.openapi.models import Count, Model, Seconds

__all__ = ["ALIVE", "METRICS", "NOT_READY", "READY", "TYPES", "Liveness", "Readiness", "TypeList"]


class JobType(Model):
    """A job type."""

    name: Annotated[str, Field(examples=["email"])]
    summary: str
    timeout: Seconds | None
    """Seconds an attempt may run unless a job says otherwise; null: the worker's setting."""
    max_retries: Count | None
    """Retries unless a job says otherwise; null: the worker's setting."""
    payload_schema: Annotated[dict[str, Any], Field(alias="schema")]
    """JSON Schema of the payload."""
    examples: list[dict[str, Any]]
    """Payloads."""


class TypeList(Model):
    """All job types, by name."""

    types: list[JobType]


class Liveness(Model):
    """The event loop runs."""

    status: Literal["alive"]


class Checks(Model):
    """The servers behind the API."""

    redis: Literal["ok", "away"]
    postgresql: Literal["ok", "away"]


class Readiness(Model):
    """Whether jobs can be submitted; degraded: they can, but what has ended is not known until PostgreSQL is back."""

    status: Literal["ready", "degraded", "not ready"]
    checks: Checks


_TYPE: dict[str, Any] = {
    "name": "greet",
    "summary": "Greet somebody.",
    "timeout": 30,
    "max_retries": None,
    "schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    "examples": [{"name": "Ada"}],
}
TYPES = json_answer("Every job type.", TypeList, {"types": [_TYPE]})
ALIVE = json_answer("The process is alive.", Liveness, {"status": "alive"})
READY = json_answer("Jobs can be submitted.", Readiness, {"status": "ready", "checks": {"redis": "ok", "postgresql": "ok"}})
NOT_READY = json_answer("Redis does not answer.", Readiness, {"status": "not ready", "checks": {"redis": "away", "postgresql": "ok"}})
METRICS: Answer = {
    "description": "The metrics in Prometheus' text format.",
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": '# TYPE dtq_jobs_submitted_total counter\ndtq_jobs_submitted_total{queue="default",type="email"} 12.0\n',
        }
    },
}
