"""What a caller may ask for: the request models of POST /submit, built from the job types that are registered.

The submitter validates with them and the client builds with them. A body is validated once, straight from bytes, against
the union of all types (``type`` tells which), and its payload is kept as the caller wrote it: the worker validates those
same bytes with the same model. Writing the model out again instead would change what models do not write as they read
(secrets become ``**********``, aliases become names).

Both parsers used here take the last of duplicate keys, and the JSON must be RFC 8259's: no NaN, UTF-8 only.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Union

import msgspec
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema, create_model
from pydantic import ValidationError as PydanticError

from dtq.config import QUEUE_NAME
from dtq.errors import InvalidRequest, UnknownType
from dtq.job import NewJob
from dtq.refusals import MalformedJson, describe, refusal
from dtq.registry import JobType

__all__ = [
    "MAX_BATCH",
    "MAX_DELAY",
    "MAX_TIMEOUT",
    "JobRequest",
    "MalformedJson",
    "Requests",
    "delays_of",
    "parse_instant",
    "parse_options",
    "request_digest",
]

MAX_DELAY = 10 * 366 * 86_400
"""How far ahead a job may be put off, in seconds: ten years, by ``delay`` and ``run_at`` alike."""
MAX_TIMEOUT = 86_400
"""Longest timeout in seconds: one day."""
MAX_BATCH = 1000
"""Jobs in one batch: one script call, so that all or none are written."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_instant(value: object) -> datetime:
    """An RFC 3339 date-time, whose offset is required; a datetime is taken as it is.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("expected an RFC 3339 time with its offset, such as 2026-03-01T09:00:00Z")
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise ValueError(f"not a time: {error}") from None


_RunAt = Annotated[
    AwareDatetime,
    BeforeValidator(parse_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-12-24T18:00:00+01:00"]}),
]
_Key = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")]


class JobRequest(BaseModel):
    """What every submission may say besides ``type`` and ``payload``."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    queue: str = Field("default", pattern=f"^{QUEUE_NAME.pattern}$", description="Queue: a-z, 0-9, '.', '_' and '-', up to 63 characters.")
    priority: Literal["high", "normal", "low"] = Field("normal", description="No normal job starts while a high one waits in its queue.")
    delay: float | None = Field(
        None, strict=True, ge=0, le=MAX_DELAY, description="Seconds to wait before the first attempt; not together with run_at."
    )
    run_at: _RunAt | None = Field(
        None, description="RFC 3339 time of the first attempt; a time in the past is now; at most ten years ahead."
    )
    timeout: float | None = Field(
        None, strict=True, gt=0, le=MAX_TIMEOUT, description="Seconds an attempt may run; by default the type's, else WORKERTIMEOUT."
    )
    max_retries: int | None = Field(
        None, strict=True, ge=0, le=100, description="Retries after the first attempt; by default the type's, else MAXRETRIES."
    )
    idempotency_key: _Key | None = Field(
        None, description="The same key again answers with the same job; with another body it is refused (409). Printable ASCII."
    )


class _Envelope(msgspec.Struct, gc=False):
    payload: msgspec.Raw


class _BatchEnvelope(msgspec.Struct, gc=False):
    jobs: list[_Envelope]


_raw = msgspec.json.Decoder(_Envelope)
_raw_batch = msgspec.json.Decoder(_BatchEnvelope)


class Requests:
    """Parses submissions of the given job types.

    ``models`` are the request models by type name, ``union`` is the type of one of them; ``one`` and
    ``batch`` parse; all three are None when there is no type at all.
    """

    def __init__(self, types: Mapping[str, JobType]) -> None:
        self.types = dict(types)
        self.models: dict[str, type[JobRequest]] = {name: _model(job_type) for name, job_type in self.types.items()}
        self.one: TypeAdapter[Any] | None = None
        self.batch: TypeAdapter[Any] | None = None
        self.union: Any = None
        if self.models:
            self.union = union = _union(self.models.values())
            self.one = TypeAdapter(union)
            batch = create_model(
                "BatchRequest",
                __config__=ConfigDict(extra="forbid"),
                __doc__="Up to 1,000 jobs, written all or none.",
                jobs=(list[union], Field(min_length=1, max_length=MAX_BATCH)),  # type: ignore[valid-type]
            )
            self.batch = TypeAdapter(batch)

    def parse(self, body: bytes, header_key: str | None = None) -> NewJob:
        """The job that a body asks for. ``header_key`` is the Idempotency-Key header.

        Raises:
            MalformedJson: the body is not JSON.
            InvalidRequest: it is JSON, but not a job.
        """
        if self.one is None:
            raise UnknownType("no job type is registered", [("type", "no job type is registered; set HANDLERS")])
        try:
            request = self.one.validate_json(body)
            raw = bytes(_raw.decode(body).payload)
        except (PydanticError, msgspec.DecodeError, RecursionError) as error:
            raise refusal(error, body, self.models) from None
        key = request.idempotency_key
        if header_key is not None:
            key = _one_key(key, header_key)
        return self.new_job(request, raw, key)

    def parse_batch(self, body: bytes) -> list[NewJob]:
        """The jobs of a batch, in their order. Raises as :meth:`parse`."""
        if self.batch is None:
            raise UnknownType("no job type is registered", [("jobs", "no job type is registered; set HANDLERS")])
        try:
            requests = self.batch.validate_json(body).jobs
            raws = _raw_batch.decode(body).jobs
        except (PydanticError, msgspec.DecodeError, RecursionError) as error:
            raise refusal(error, body, self.models) from None
        jobs, errors = [], []
        for index, (request, raw) in enumerate(zip(requests, raws, strict=True)):
            try:
                jobs.append(self.new_job(request, bytes(raw.payload), request.idempotency_key))
            except InvalidRequest as error:
                errors += [(f"jobs[{index}].{field}", message) for field, message in error.errors]
        if errors:
            raise InvalidRequest(f"{errors[0][0]}: {errors[0][1]}", errors)
        return jobs

    def new_job(self, request: Any, payload: bytes, key: str | None) -> NewJob:
        """A validated request as a job, with its type's defaults.

        Raises:
            InvalidRequest: both ``delay`` and ``run_at`` are given, or ``run_at`` is too far ahead.
        """
        job_type = self.types[request.type]
        timeout = job_type.timeout if request.timeout is None else request.timeout
        retries = job_type.max_retries if request.max_retries is None else request.max_retries
        # Lines and blanks between the tokens of a pretty-printed payload need not be kept in memory.
        if b"\n" in payload or b": " in payload:
            payload = msgspec.json.format(payload, indent=-1)
        if request.delay is None and request.run_at is None and key is None:
            return NewJob(request.type, payload, request.queue, request.priority, 0, None, timeout, retries)
        delay_ms, run_at_ms = delays_of(request)
        job = NewJob(request.type, payload, request.queue, request.priority, delay_ms, run_at_ms, timeout, retries, key)
        return job if key is None else msgspec.structs.replace(job, digest=request_digest(job))


def request_digest(job: NewJob) -> str:
    """A fingerprint of what a job asks for, without its key: equal for bodies that differ only in spelling."""
    payload = msgspec.json.decode(job.payload)
    content = (job.type, job.queue, job.priority, job.delay_ms, job.run_at_ms, job.timeout, job.max_retries, payload)
    return hashlib.blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=16).hexdigest()


def _model(job_type: JobType) -> type[JobRequest]:
    name = re.sub(r"\W+", "_", job_type.name).title().replace("_", "")
    literal: Any = Literal
    examples: list[Any] = [{"type": job_type.name, "payload": dict(example)} for example in job_type.examples]
    model = create_model(
        f"Submit{name}",
        __base__=JobRequest,
        __doc__=job_type.summary or f"A job of type {job_type.name}.",
        type=(literal[job_type.name], Field(description="Job type.")),
        payload=(job_type.payload, Field(description=f"Input of {job_type.name}.")),
    )
    if examples:
        model.model_config["json_schema_extra"] = {"examples": examples}
        model.model_rebuild(force=True)
    return model


def _union(models: Iterable[type[JobRequest]]) -> Any:
    found = tuple(models)
    # A union of one is not a union; its type field then says what is wrong.
    return Annotated[Union[found], Field(discriminator="type")] if len(found) > 1 else found[0]  # noqa: UP007


def _one_key(field: str | None, header: str) -> str:
    if not 1 <= len(header) <= 255 or not (header.isascii() and header.isprintable()):
        raise InvalidRequest("Idempotency-Key: use 1 to 255 printable ASCII characters", [("Idempotency-Key", "1 to 255 printable ASCII")])
    if field is not None and field != header:
        raise InvalidRequest(
            "idempotency_key and the Idempotency-Key header differ",
            [("idempotency_key", "differs from the Idempotency-Key header; send one of them")],
        )
    return header


def parse_options(**options: object) -> JobRequest:
    """Everything but type and payload, of a caller that has no JSON.

    Raises:
        InvalidRequest: a value that a submission may not have; ``errors`` names every one.
    """
    try:
        return JobRequest.model_validate(options)
    except PydanticError as error:
        errors = [(str(item["loc"][0]), describe(item, [])) for item in error.errors(include_url=False)]
        raise InvalidRequest("; ".join(f"{name}: {message}" for name, message in errors), errors) from None


def delays_of(request: JobRequest) -> tuple[int, int | None]:
    """``delay_ms`` and ``run_at_ms`` of a request.

    Raises:
        InvalidRequest: it has both, or ``run_at`` is too far ahead.
    """
    if request.run_at is None:
        return math.ceil((request.delay or 0) * 1000), None
    if request.delay is not None:
        raise InvalidRequest("delay and run_at exclude each other", [("run_at", "not together with delay; send one of them")])
    seconds = request.run_at.timestamp()
    if seconds > time.time() + MAX_DELAY:
        raise InvalidRequest("run_at is more than ten years ahead", [("run_at", "must be at most ten years ahead")])
    return 0, max(0, math.ceil(seconds * 1000))
