"""/types, the probes and /metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from dtq.errors import QueueUnavailable
from dtq.probe import check_all
from dtq.registry import Registry
from dtq_submitter.openapi.answers import NO_KEY, answers, open_answers
from dtq_submitter.openapi.system import ALIVE, METRICS, NOT_READY, READY, TYPES
from dtq_submitter.services import Json, Services

__all__ = ["system_router", "types_document"]


def types_document(registry: Registry) -> dict[str, Any]:
    """Every job type with the JSON Schema of its payload."""
    return {
        "types": [
            {
                "name": job_type.name,
                "summary": job_type.summary,
                "timeout": job_type.timeout,
                "max_retries": job_type.max_retries,
                "schema": job_type.payload.model_json_schema(),
                "examples": list(job_type.examples),
            }
            for _, job_type in sorted(registry.types.items())
        ]
    }


def system_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["system"])
    types = Json(types_document(services.registry)).body

    @router.get("/types", operation_id="list_types", summary="List job types", responses=answers({200: TYPES}))
    async def list_types() -> Response:
        """Every job type with the JSON Schema of its payload."""
        return Response(types, media_type="application/json")

    @router.get(
        "/livez",
        operation_id="livez",
        summary="Is the process alive?",
        responses=open_answers({200: ALIVE}, 503),
        openapi_extra=NO_KEY,
    )
    async def livez() -> Response:
        """200 while the event loop runs and nothing calls for a restart."""
        if problem := services.queue.problem():
            raise QueueUnavailable(problem)
        return Json({"status": "alive"})

    @router.get(
        "/readyz",
        operation_id="readyz",
        summary="Can jobs be submitted?",
        responses=open_answers({200: READY, 503: NOT_READY}),
        openapi_extra=NO_KEY,
    )
    async def readyz() -> Response:
        """200 when Redis answers. Without PostgreSQL jobs are accepted and run, so that is ``degraded``, not unready."""
        failed = await check_all({"redis": services.queue.ping, "postgresql": services.store.ping})
        checks = {name: "away" if name in failed else "ok" for name in ("redis", "postgresql")}
        status = "not ready" if "redis" in failed else "degraded" if failed else "ready"
        return Json({"status": status, "checks": checks}, 503 if "redis" in failed else 200)

    @router.get(
        "/metrics",
        operation_id="metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses=open_answers({200: METRICS}),
        openapi_extra=NO_KEY,
    )
    async def metrics() -> Response:
        """The text format."""
        services.metrics.waiting(len(services.waits))
        return Response(generate_latest(services.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router
