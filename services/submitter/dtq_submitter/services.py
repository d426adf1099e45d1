"""What the endpoints work with, handed to each router when the app is put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dtq.blobs import BlobStore
from dtq.config import QUEUE_NAME, Settings
from dtq.errors import InvalidRequest
from dtq.queue import Queue
from dtq.registry import Registry
from dtq.requests import Requests
from dtq.schedule.store import ScheduleStore
from dtq.storage import Store
from dtq_submitter.metrics import Metrics
from dtq_submitter.waits import Waits

__all__ = ["Json", "Services", "check_queue", "disconnected"]


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running submitter."""

    settings: Settings
    queue: Queue
    store: Store
    schedules: ScheduleStore
    registry: Registry
    blobs: BlobStore
    requests: Requests
    waits: Waits
    metrics: Metrics


class Json(Response):
    """A JSON answer; payloads and results (``msgspec.Raw``) go into it as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return msgspec.json.encode(content)


def check_queue(name: str) -> str:
    """``name``, if a queue may be called so.

    Raises:
        InvalidRequest: it may not.
    """
    if QUEUE_NAME.fullmatch(name):
        return name
    problem = "a queue's name is a-z, 0-9, '.', '_' and '-', starting with a letter or digit, up to 63 characters"
    raise InvalidRequest(f"queue: {problem}", [("queue", problem)])


async def disconnected(request: Request) -> None:
    """Return when the client has gone away. The request's body must have been read, or have none."""
    message = await request.receive()
    while message["type"] != "http.disconnect":
        message = await request.receive()
