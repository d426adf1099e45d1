"""The HTTP client against the submitter itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from dtq.blobs import BlobStore
from dtq.client import AsyncClient, Job
from dtq.config import Settings
from dtq.errors import Conflict, IdempotencyConflict, InvalidRequest, NotFound, QueueFull
from dtq.queue import Queue
from dtq.registry import JobType, Registry
from dtq.schedule.store import ScheduleStore
from dtq.storage import Store
from dtq_submitter.app import create_app


class Payload(BaseModel):
    n: int


@pytest.fixture
async def dtq(redis_url: str, store: Store, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    settings = Settings(redisaddr=redis_url, maxqueuelength=1500)
    registry = Registry()
    registry.add_type(JobType("count", Payload), "test")
    queue = await Queue.connect(settings)
    blobs = BlobStore.from_url(f"file://{tmp_path}")
    app = create_app(settings, queue, store, ScheduleStore(queue.client), registry, blobs)
    async with AsyncClient("http://localhost", transport=httpx.ASGITransport(app)) as client:
        yield client
    await queue.close()


async def test_submit_and_get(dtq: AsyncClient) -> None:
    receipt = await dtq.submit(Job("count", {"n": 1}, priority="high", delay=60))
    info = await dtq.get(receipt.id)
    assert (info.id, info.type, info.payload, info.priority, info.state) == (receipt.id, "count", {"n": 1}, "high", "scheduled")
    assert info.run_at is not None


async def test_submit_many(dtq: AsyncClient) -> None:
    receipts = await dtq.submit_many(Job("count", {"n": n}) for n in range(1200))
    assert len({receipt.id for receipt in receipts}) == 1200
    info = await dtq.queue()
    assert (info.ready, info.demand) == (1200, 1200)


async def test_cancel_wait_retry(dtq: AsyncClient) -> None:
    receipt = await dtq.submit(Job("count", {"n": 1}))
    with pytest.raises(Conflict):
        await dtq.retry(receipt.id)
    await dtq.cancel(receipt.id)
    assert (await dtq.wait(receipt.id, 5)).state == "cancelled"
    await dtq.retry(receipt.id)
    assert (await dtq.get(receipt.id)).state == "queued"


async def test_same_key(dtq: AsyncClient) -> None:
    first = await dtq.submit(Job("count", {"n": 1}, idempotency_key="k"))
    assert (await dtq.submit(Job("count", {"n": 1}, idempotency_key="k"))).id == first.id
    with pytest.raises(IdempotencyConflict):
        await dtq.submit(Job("count", {"n": 2}, idempotency_key="k"))


async def test_wrong_payload_names_the_field(dtq: AsyncClient) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await dtq.submit(Job("count", {"n": "x"}))
    assert "payload.n" in caught.value.errors[0][0]
    with pytest.raises(InvalidRequest):
        await dtq.submit(Job("unknown", {}))


async def test_unknown_job(dtq: AsyncClient) -> None:
    for call in (dtq.get, dtq.cancel, dtq.retry):
        with pytest.raises(NotFound):
            await call("0197000000000001n-default")


async def test_full_queue(dtq: AsyncClient) -> None:
    with pytest.raises(QueueFull):
        await dtq.submit_many(Job("count", {"n": n}) for n in range(2000))
    assert (await dtq.queue()).ready == 1000
