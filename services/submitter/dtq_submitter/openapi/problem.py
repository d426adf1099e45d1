"""The schema of every answer that is an error."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dtq.job import State
from dtq_submitter.openapi.models import Model

__all__ = ["Problem"]


class FieldError(Model):
    """One wrong field of a request."""

    field: Annotated[str, Field(examples=["payload.to[0]", "jobs[3].priority"])]
    """Its path, as the caller wrote it."""
    message: str


class Problem(Model):
    """RFC 9457 problem document."""

    type: Annotated[str, Field(pattern="^urn:dtq:problem:[a-z-]+$")]
    """Stable; programs tell problems apart by it."""
    title: str
    """The status in words."""
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    """What is wrong, for people."""
    instance: str
    """The path that was asked for."""
    errors: list[FieldError] = Field(default_factory=list)
    """Each wrong field; only there when fields are named."""
    state: State = State.RUNNING
    """The job's state; only there when it is why the request was refused."""
    queue: Annotated[str, Field(examples=["default"])] = ""
    """The damaged queue, or dtq:schedules, dtq:queues; only there when that is what is wrong."""
    reason: str = ""
    """What Redis said of it."""
