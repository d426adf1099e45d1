"""The clients straight on Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel, ConfigDict

from dtq.client import AsyncQueueClient, Job, QueueClient
from dtq.config import Settings
from dtq.errors import IdempotencyConflict, IllegalTransition, InvalidRequest, NotFound, QueueFull, QueueUnavailable
from dtq.job import State
from dtq.queue import Queue
from dtq.queue.claims import Claims
from dtq.registry import JobType, Registry


@pytest.fixture
def dtq(redis_url: str) -> Iterator[QueueClient]:
    with QueueClient(redis_url) as client:
        yield client


async def payloads(url: str, count: int) -> list[bytes]:
    queue = await Queue.connect(Settings(redisaddr=url))
    claim = await Claims(queue.client, "w", 60_000, 1000, 1000).claim("default", count)
    await queue.close()
    return [job.payload for job in claim.jobs]


def test_one_job(dtq: QueueClient) -> None:
    done = dtq.submit(Job("noop", {"n": 1}, priority="high"))
    view = dtq.get(done.id)
    assert (view.type, view.payload, view.priority, view.state) == ("noop", b'{"n":1}', "high", State.QUEUED)


def test_delayed_job(dtq: QueueClient) -> None:
    assert dtq.submit(Job("noop", {}, delay=60)).state is State.SCHEDULED
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)
    assert dtq.submit(Job("noop", {}, run_at=due)).run_at == due.timestamp() * 1000


async def test_many_jobs_keep_their_order(redis_url: str) -> None:
    async with AsyncQueueClient(redis_url) as dtq:
        receipts = await dtq.submit_many(Job("noop", n) for n in range(2300))
        assert len(receipts) == 2300
        assert receipts.ids == sorted(set(receipts.ids))
        assert receipts[7].id == receipts.ids[7]
        assert (await dtq.queue()).ready == 2300
    assert await payloads(redis_url, 3000) == [b"%d" % n for n in range(2300)]


def test_a_source_may_call_the_client(dtq: QueueClient) -> None:
    def source() -> Iterator[Job]:
        for n in range(1200):
            yield Job("noop", {"after": dtq.queue().ready if n % 400 == 0 else None})

    assert len(dtq.submit_many(source())) == 1200
    assert dtq.queue().ready == 1200


def test_no_jobs(dtq: QueueClient) -> None:
    receipts = dtq.submit_many([])
    assert (len(receipts), receipts.ids) == (0, [])


def test_repeat_under_the_same_key(dtq: QueueClient) -> None:
    job = Job("noop", {"a": 1, "b": 2}, idempotency_key="k")
    first = dtq.submit(job)
    again = dtq.submit(Job("noop", {"b": 2, "a": 1}, idempotency_key="k"))
    assert (again.id, again.created) == (first.id, False)
    with pytest.raises(IdempotencyConflict):
        dtq.submit(Job("noop", {"a": 2}, idempotency_key="k"))


def test_error_leaves_earlier_chunks_in(redis_url: str) -> None:
    with QueueClient(redis_url, settings=Settings(maxqueuelength=1200)) as dtq:
        with pytest.raises(QueueFull):
            dtq.submit_many(Job("noop", {}) for _ in range(5000))
        assert dtq.queue().ready == 1000


def test_failing_source_leaves_nothing_under_way(dtq: QueueClient) -> None:
    with pytest.raises(InvalidRequest):
        dtq.submit_many(Job("noop", object() if n == 700 else n) for n in range(1000))
    assert dtq.queue().ready == 500


@pytest.mark.parametrize(
    "job",
    [
        Job("noop", object()),
        Job("noop", {}, queue="Not A Queue"),
        Job("noop", {}, priority="urgent"),
        Job("noop", {}, delay=1, run_at=datetime(2100, 1, 1, tzinfo=UTC)),
        Job("noop", {}, run_at=datetime.now()),
        Job("noop", {}, run_at=datetime(9999, 12, 31, tzinfo=UTC)),
        Job("noop", {}, delay=-1),
        Job("noop", {}, delay=1e12),
        Job("noop", {}, delay=float("nan")),
        Job("noop", {}, delay=float("inf")),
        Job("noop", {}, timeout=0),
        Job("noop", {}, timeout=86_401),
        Job("noop", {}, timeout=float("nan")),
        Job("noop", {}, max_retries=-1),
        Job("noop", {}, max_retries=101),
        Job("noop", {}, idempotency_key=""),
        Job("noop", {}, idempotency_key="a\nb"),
        Job("noop", {}, idempotency_key="x" * 256),
        Job("noop", {}, queue="x" * 64, delay=1),
    ],
)
def test_illegal_jobs_are_refused(dtq: QueueClient, job: Job) -> None:
    with pytest.raises(InvalidRequest):
        dtq.submit(job)
    stats = dtq.queue()
    assert stats.ready + stats.delayed == 0


def test_cancel_retry_wait(dtq: QueueClient) -> None:
    done = dtq.submit(Job("noop", {}))
    with pytest.raises(IllegalTransition):
        dtq.retry(done.id)
    assert dtq.cancel(done.id) is State.CANCELLED
    assert dtq.wait(done.id, 60).state is State.CANCELLED
    assert dtq.retry(done.id).id == done.id


def test_unknown_job(dtq: QueueClient) -> None:
    unknown = "0197000000000001n-default"
    for call in (dtq.get, dtq.cancel, dtq.retry):
        with pytest.raises(NotFound):
            call(unknown)


class Payload(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int


def test_registry_validates_and_sets_defaults(redis_url: str) -> None:
    registry = Registry()
    registry.add_type(JobType("count", Payload, timeout=7.0, max_retries=1), "test")
    with QueueClient(redis_url, registry=registry) as dtq:
        view = dtq.get(dtq.submit(Job("count", {"n": 1})).id)
        assert (view.timeout, view.max_retries) == (7.0, 1)
        with pytest.raises(InvalidRequest) as caught:
            dtq.submit_many([Job("count", {"n": 1}), Job("count", {"n": "x"})])
        assert caught.value.errors[0][0].startswith("jobs[1].payload.n")
        with pytest.raises(InvalidRequest):
            dtq.submit(Job("unknown", {}))


def test_absent_server(unused_tcp_port: int) -> None:
    with QueueClient(f"redis://127.0.0.1:{unused_tcp_port}") as dtq, pytest.raises(QueueUnavailable):
        dtq.submit(Job("noop", {}))


def test_same_methods() -> None:
    names = {name for name in dir(QueueClient) if not name.startswith("_")}
    assert names == {name for name in dir(AsyncQueueClient) if not name.startswith("_")}
