"""Endpoints under /queues."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from dtq.config import QUEUE_NAME
from dtq_submitter.openapi.answers import answers
from dtq_submitter.openapi.queues import QUEUE, QUEUES
from dtq_submitter.services import Json, Services, check_queue
from dtq_submitter.views import queue_document

__all__ = ["queues_router"]

QueuePath = Annotated[
    str, Path(description="A queue's name.", examples=["default"], json_schema_extra={"pattern": f"^{QUEUE_NAME.pattern}$"})
]


def queues_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["queues"])
    one = answers({200: QUEUE}, 422, 503)

    async def numbers(name: str) -> Response:
        return Json(queue_document((await services.queue.stats([check_queue(name)]))[0]))

    @router.get("/queues", operation_id="list_queues", summary="List queues", responses=answers({200: QUEUES}, 503))
    async def list_() -> Response:
        """Every queue ever submitted to, with its numbers; without those whose keys somebody damaged."""
        found = await services.queue.stats(await services.queue.queues(), damaged=False)
        return Json({"queues": [queue_document(stats) for stats in found]})

    @router.get("/queues/{queue}", operation_id="get_queue", summary="Show a queue", responses=one)
    async def show(queue: QueuePath) -> Response:
        """Its numbers. A queue never used has zeros, so that an autoscaler may ask for it before its first job."""
        return await numbers(queue)

    @router.post("/queues/{queue}/pause", operation_id="pause_queue", summary="Pause a queue", responses=one)
    async def pause(queue: QueuePath) -> Response:
        """Stop handing out its jobs; running ones go on, and new ones are accepted."""
        await services.queue.pause(check_queue(queue))
        return await numbers(queue)

    @router.post("/queues/{queue}/resume", operation_id="resume_queue", summary="Resume a queue", responses=one)
    async def resume(queue: QueuePath) -> Response:
        """Hand out its jobs again."""
        await services.queue.resume(check_queue(queue))
        return await numbers(queue)

    return router
