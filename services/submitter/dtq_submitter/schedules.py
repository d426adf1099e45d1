"""Endpoints under /schedules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import JsonValue, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dtq.errors import InvalidRequest, InvalidSchedule, NotFound
from dtq.refusals import path_of
from dtq.registry import Registry
from dtq.requests import MalformedJson, parse_instant
from dtq.schedule.cron import MAX_PREVIEW, preview
from dtq.schedule.entry import rfc3339
from dtq.schedule.spec import MAX_NAME, NAME_PATTERN, JobTemplate, check_name, parse_spec
from dtq.schedule.trigger import forget, trigger
from dtq_submitter.body import BodyHeaders, read_body
from dtq_submitter.openapi.answers import answers
from dtq_submitter.openapi.schedules import CHANGED, CREATED, DELETED, SCHEDULE, SCHEDULES, SPEC_BODY, TICKS, TRIGGERED
from dtq_submitter.services import Json, Services
from dtq_submitter.views import schedule_document

__all__ = ["check_template", "schedules_router"]

_NAME: dict[str, JsonValue] = {
    "pattern": f"^{NAME_PATTERN}$",
    "maxLength": MAX_NAME,
}  # documented only: check_name says better what is wrong
NamePath = Annotated[str, Path(description="A DNS-1123 subdomain.", examples=["nightly-report"], json_schema_extra=_NAME)]


def schedules_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["schedules"])
    store = services.schedules

    async def shown(name: str) -> dict[str, object]:
        entry = await store.get(check_name(name))
        if entry is None:
            raise NotFound(f"there is no schedule {name!r}")
        return schedule_document(entry, await store.history(name))

    @router.get("/schedules", operation_id="list_schedules", summary="List schedules", responses=answers({200: SCHEDULES}, 422, 503))
    async def list_(
        cursor: Annotated[
            str | None,
            Query(
                max_length=MAX_NAME,
                description="next_cursor of the page before.",
                examples=["nightly-report"],
                json_schema_extra={"pattern": f"^{NAME_PATTERN}$"},
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="Most schedules on the page.", examples=[100])] = 100,
    ) -> Response:
        """Schedules by name."""
        entries, following = await store.list(cursor, limit)
        return Json({"schedules": [schedule_document(entry) for entry in entries], "next_cursor": following})

    @router.get(
        "/schedules/preview", operation_id="preview_schedule", summary="When a cron line fires", responses=answers({200: TICKS}, 422)
    )
    async def preview_(
        schedule: Annotated[str, Query(max_length=1000, description="Five fields or a macro.", examples=["*/15 8-18 * * 1-5"])],
        time_zone: Annotated[
            str | None,
            Query(alias="timeZone", max_length=100, description="IANA time zone; UTC when left out.", examples=["Europe/Berlin"]),
        ] = None,
        from_: Annotated[
            str | None, Query(alias="from", description="RFC 3339; now when left out.", examples=["2026-03-28T12:00:00Z"])
        ] = None,
        count: Annotated[int, Query(ge=1, le=MAX_PREVIEW, description="How many times.", examples=[10])] = 5,
    ) -> Response:
        """The times strictly after ``from`` at which a Kubernetes CronJob would fire; none when it never does."""
        ticks = preview(schedule, time_zone, _from(from_), count)
        return Json({"ticks": [rfc3339(int(tick.timestamp()) * 1000) for tick in ticks]})

    @router.api_route("/schedules/preview", methods=["PUT", "DELETE"], include_in_schema=False)
    async def no_preview() -> Response:
        """A schedule of this name could be made, but not be shown."""
        raise HTTPException(405)

    @router.get(
        "/schedules/{name}", operation_id="get_schedule", summary="Show a schedule", responses=answers({200: SCHEDULE}, 404, 422, 503)
    )
    async def show(name: NamePath) -> Response:
        """Its spec, status, last events and finished runs."""
        return Json(await shown(name))

    @router.put(
        "/schedules/{name}",
        operation_id="put_schedule",
        summary="Make or change a schedule",
        responses=answers({200: CHANGED, 201: CREATED}, 400, 408, 409, 413, 415, 422, 503),
        openapi_extra=SPEC_BODY,
    )
    async def put(name: NamePath, request: Request) -> Response:
        """201 when it is new. The body has the names of the ScheduledJob resource's spec."""
        check_name(name)
        limit = services.settings.maxbodybytes
        BodyHeaders(request.scope["headers"]).check(limit)
        body = await read_body(request.receive, limit)
        _require_json(body)
        spec = parse_spec(body)
        check_template(spec.jobTemplate, services.registry)
        outcome = await store.put(name, spec)
        return Json(await shown(name), 201 if outcome == "created" else 200)

    @router.delete(
        "/schedules/{name}",
        operation_id="delete_schedule",
        summary="Delete a schedule",
        status_code=204,
        responses=answers({204: DELETED}, 404, 409, 422, 503),
    )
    async def delete(name: NamePath) -> Response:
        """Its runs go on."""
        entry = await store.delete(check_name(name))
        if entry is None:
            raise NotFound(f"there is no schedule {name!r}")
        await forget(services.queue, entry)
        return Response(status_code=204)

    @router.post(
        "/schedules/{name}/trigger",
        operation_id="trigger_schedule",
        summary="Run a schedule now",
        status_code=202,
        responses=answers({202: TRIGGERED}, 404, 422, 503),
    )
    async def trigger_(name: NamePath) -> Response:
        """Submit its job at once, suspended or not, whatever its policy."""
        job_id = await trigger(store, services.queue, check_name(name))
        return Json({"id": job_id}, 202, headers={"Location": f"/jobs/{job_id}"})

    return router


def check_template(template: JobTemplate, registry: Registry) -> None:
    """Refuse at once what each tick would fail with.

    Raises:
        InvalidSchedule: the type is unknown, or the payload does not fit it.
    """
    job_type = registry.types.get(template.type)
    if job_type is None:
        message = f"unknown job type {template.type[:100]!r}; known types are {', '.join(sorted(registry.types))}"
        raise InvalidSchedule(f"jobTemplate.type: {message}", [("jobTemplate.type", message)])
    try:
        job_type.payload.model_validate_json(msgspec.json.encode(template.payload))
    except ValidationError as error:
        errors = [
            (_path(path_of(item["loc"], template.payload)), item["msg"].removeprefix("Value error, "))
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidSchedule(f"{errors[0][0]}: {errors[0][1]}", errors) from None


def _path(keys: list[int | str]) -> str:
    return "jobTemplate.payload" + "".join(f"[{key}]" if isinstance(key, int) else f".{key[:100]}" for key in keys)


def _require_json(body: bytes) -> None:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson(f"the body is not JSON: {error}") from None


def _from(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    if len(text) > 6 and text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"  # a '+' that was not escaped in the URL
    try:
        return parse_instant(text)
    except ValueError as error:
        raise InvalidRequest(f"from: {error}", [("from", str(error))]) from None
