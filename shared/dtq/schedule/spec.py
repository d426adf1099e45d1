"""What a user writes: the spec of a schedule, with the names of the ScheduledJob resource (docs, KUBERNETES contract)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from dtq.config import QUEUE_NAME
from dtq.errors import InvalidSchedule
from dtq.job import NewJob
from dtq.requests import MAX_TIMEOUT
from dtq.schedule.cron import parse_line
from dtq.schedule.zones import UTC_ZONE, load_zone

__all__ = ["MAX_NAME", "NAME_PATTERN", "JobTemplate", "Policy", "ScheduleSpec", "check_name", "parse_spec"]

Policy = Literal["Allow", "Forbid", "Replace"]

MAX_NAME = 63 + 1 + 253
"""Longest name of a schedule: a ScheduledJob resource's is ``namespace.name``."""

NAME_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME = re.compile(NAME_PATTERN, re.ASCII)


def check_name(name: str) -> str:
    """``name``, if a schedule may be called so: a DNS-1123 subdomain, as every Kubernetes resource, with room for its namespace.

    Raises:
        InvalidSchedule: it may not; the error names the field name.
    """
    if len(name) <= MAX_NAME and _NAME.fullmatch(name):
        return name
    problem = f"must be at most {MAX_NAME} of a-z, 0-9, '-' and '.', and begin and end with a letter or digit (a DNS-1123 subdomain)"
    raise InvalidSchedule(f"name: {problem}", [("name", problem)])


def _reason(error: InvalidSchedule) -> ValueError:
    return ValueError(error.errors[0][1])


def _stored(info: ValidationInfo) -> bool:
    return bool(info.context)


def _check_line(text: str, info: ValidationInfo) -> str:
    if _stored(info):
        return text
    try:
        parse_line(text)
    except InvalidSchedule as error:
        raise _reason(error) from None
    return text


def _check_zone(name: str, info: ValidationInfo) -> str:
    if _stored(info):
        return name
    try:
        return load_zone(name)
    except InvalidSchedule as error:
        raise _reason(error) from None


def _check_queue(name: str) -> str:
    if not QUEUE_NAME.fullmatch(name):
        raise ValueError("must be 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")
    return name


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        """As in Kubernetes, a field that is null is a field left out."""
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class JobTemplate(_Model):
    """The job that each tick starts. Null for ``timeoutSeconds`` and ``maxRetries`` means the job type's or worker's setting."""

    type: str = Field(min_length=1, max_length=200)
    payload: dict[str, Any] = Field(default_factory=dict)
    queue: Annotated[str, AfterValidator(_check_queue)] = "default"
    priority: Literal["high", "normal", "low"] = "normal"
    timeoutSeconds: int | None = Field(None, ge=1, le=MAX_TIMEOUT)  # noqa: N815 - the resource's name
    maxRetries: int | None = Field(None, ge=0, le=100)  # noqa: N815

    def job(self) -> NewJob:
        """The job to submit."""
        return NewJob(
            type=self.type,
            payload=msgspec.json.encode(self.payload),
            queue=self.queue,
            priority=self.priority,
            timeout=None if self.timeoutSeconds is None else float(self.timeoutSeconds),
            max_retries=self.maxRetries,
        )


class ScheduleSpec(_Model):
    """A schedule: when, in which zone, under which rules, and what it starts."""

    schedule: Annotated[str, AfterValidator(_check_line)] = Field(max_length=1000)
    timeZone: Annotated[str, AfterValidator(_check_zone)] = UTC_ZONE  # noqa: N815
    suspend: bool = False
    concurrencyPolicy: Policy = "Allow"  # noqa: N815
    startingDeadlineSeconds: int | None = Field(None, ge=0, le=2**53)  # noqa: N815
    successfulJobsHistoryLimit: int = Field(3, ge=0, le=1000)  # noqa: N815
    failedJobsHistoryLimit: int = Field(1, ge=0, le=1000)  # noqa: N815
    jobTemplate: JobTemplate  # noqa: N815

    def text(self) -> bytes:
        """The spec as JSON, the same for equal specs."""
        return self.model_dump_json().encode()


def parse_spec(data: object, *, stored: bool = False) -> ScheduleSpec:
    """The spec in ``data``: a mapping, or JSON text.

    ``stored``: it was accepted before, maybe by another version or with other zone data; line and zone are taken as they are.

    Raises:
        InvalidSchedule: something in it is wrong; ``errors`` names every such field by its path, ``jobTemplate.queue``.
    """
    try:
        if isinstance(data, bytes | str):
            return ScheduleSpec.model_validate_json(data, context=stored)
        return ScheduleSpec.model_validate(data, context=stored)
    except ValidationError as error:
        errors = [(_path(item["loc"]), _message(item["msg"], item["type"])) for item in error.errors(include_url=False)]
        raise InvalidSchedule("; ".join(f"{path}: {message}" for path, message in errors), errors) from None


def _path(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".") or "spec"


def _message(text: str, kind: str) -> str:
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "is not a field of this object; remove it or correct its name"
    return text.removeprefix("Value error, ")
