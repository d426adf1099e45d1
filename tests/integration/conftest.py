"""A queue and a store of schedules on one real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dtq.config import Settings
from dtq.queue import Queue
from dtq.schedule.store import ScheduleStore


@pytest.fixture
async def tasks(redis_url: str) -> AsyncIterator[Queue]:
    queue = await Queue.connect(Settings(redisaddr=redis_url))
    yield queue
    await queue.close()


@pytest.fixture
def schedules(tasks: Queue) -> ScheduleStore:
    return ScheduleStore(tasks.client)
