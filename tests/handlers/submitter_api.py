"""The submitter's app on real servers, for tests that talk HTTP to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dtq.blobs import BlobStore
from dtq.config import Settings, load_settings
from dtq.queue import Queue
from dtq.registry import load_registry
from dtq.schedule.store import ScheduleStore
from dtq.storage import Store
from dtq_submitter.app import Api, create_app

EMAIL: dict[str, Any] = {
    "type": "email",
    "payload": {"to": "user@example.com", "subject": "Test Email", "body": "This is a test email."},
}
NOWHERE = "postgresql://127.0.0.1:1/none"
"""A PostgreSQL that is away."""


@dataclass
class Running:
    """An app, its parts and a client of it."""

    app: Api
    http: httpx.AsyncClient
    queue: Queue
    store: Store
    blobs: BlobStore
    settings: Settings

    async def post(self, body: Any, **options: Any) -> httpx.Response:
        """POST /submit."""
        return await self.http.post("/submit", json=body, **options)

    async def waiting(self) -> int:
        """Jobs in the queue default, delayed ones included."""
        stats = (await self.queue.stats(["default"]))[0]
        return stats.ready + stats.due + stats.delayed + stats.running


@asynccontextmanager
async def running(redis_url: str, dsn: str, folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """An app on these servers."""
    given = load_settings(redisaddr=redis_url, databaseurl=dsn, bloburl=f"file://{folder}/blobs", **settings)
    queue, store, blobs = await Queue.connect(given), Store(dsn), BlobStore.from_url(given.bloburl)
    await store.open()
    app = create_app(given, queue, store, ScheduleStore(queue.client), load_registry(["dtq.jobs"], entry_points=False), blobs)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as http:
            yield Running(app, http, queue, store, blobs, given)
    finally:
        await store.close()
        await queue.close()


def fields(answer: httpx.Response) -> list[str]:
    """The fields that a problem document names."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return [error["field"] for error in answer.json().get("errors", [])]
