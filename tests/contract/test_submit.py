"""Submitting: what is accepted, in which order it comes out, and what is refused as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dtq.config import Settings
from dtq.errors import IdempotencyConflict, InvalidRequest, QueueFull
from dtq.ids import parse_id, submitted_ms
from dtq.job import NewJob, State
from dtq.queue import LiveFilter, Queue
from dtq.queue.claims import Claims, Finish

MakeWorker = Callable[..., Claims]
Until = Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]


def noop(n: int = 0, **options: Any) -> NewJob:
    return NewJob("noop", b'{"n":%d}' % n, **options)


async def server_ms(queue: Queue) -> int:
    """The server's time, as a job's id shows it."""
    [probe] = await queue.submit([noop(queue="clock")])
    return submitted_ms(probe.id)


async def payloads(claims: Claims, count: int = 100, queue: str = "default") -> list[bytes]:
    return [job.payload for job in (await claims.claim(queue, count)).jobs]


async def live(queue: Queue, name: str = "default") -> int:
    [stats] = await queue.stats([name])
    return stats.ready + stats.due + stats.delayed + stats.running


async def test_answers_in_order_of_submission(queue: Queue) -> None:
    done = await queue.submit([noop(n) for n in range(20)])
    assert [d.state for d in done] == [State.QUEUED] * 20
    assert [d.id for d in done] == sorted({d.id for d in done})
    views = await queue.get_many([d.id for d in done])
    assert [view and view.payload for view in views] == [b'{"n":%d}' % n for n in range(20)]


async def test_nothing_to_submit(queue: Queue) -> None:
    assert await queue.submit([]) == []
    assert await queue.queues() == []


async def test_more_than_one_call_holds(queue: Queue) -> None:
    done = await queue.submit([noop(n) for n in range(2500)])
    assert len({d.id for d in done}) == 2500
    [stats] = await queue.stats(["default"])
    assert stats.ready == 2500


async def test_jobs_come_out_in_order_of_submission(queue: Queue, worker: MakeWorker) -> None:
    await queue.submit([noop(n) for n in range(10)])
    first = await payloads(worker("a"), 4)
    second = await payloads(worker("b"), 100)
    assert first + second == [b'{"n":%d}' % n for n in range(10)]


async def test_payload_bytes_come_back_unchanged(queue: Queue, worker: MakeWorker) -> None:
    texts = [b'{"a": "\xc3\xa9\xf0\x9f\x98\x80"}', b'"\\u0000"', b"null", b'{"deep":' + b"[" * 200 + b"]" * 200 + b"}"]
    await queue.submit([NewJob("noop", text) for text in texts])
    assert await payloads(worker()) == texts


async def test_high_before_normal_before_low(queue: Queue, worker: MakeWorker) -> None:
    await queue.submit([noop(1, priority="low"), noop(2), noop(3, priority="high"), noop(4, priority="high"), noop(5, priority="low")])
    claim = await worker().claim("default", 10)
    assert [job.payload for job in claim.jobs] == [b'{"n":%d}' % n for n in (3, 4, 2, 1, 5)]
    assert [job.priority for job in claim.jobs] == ["high", "high", "normal", "low", "low"]


async def test_redelivered_jobs_come_first(queue: Queue, worker: MakeWorker, end: Callable[..., Finish]) -> None:
    await queue.submit([noop(1, priority="low")])
    claims = worker()
    [job] = (await claims.claim("default", 1)).jobs
    await queue.submit([noop(2, priority="high")])
    await claims.finish("default", [end(job, "hand_back")])
    assert await payloads(claims) == [b'{"n":1}', b'{"n":2}']


async def test_options_travel_with_the_job(queue: Queue, worker: MakeWorker) -> None:
    await queue.submit([noop(1, timeout=2.5, max_retries=7), noop(2, timeout=2.5, max_retries=7), noop(3)])
    jobs = (await worker().claim("default", 3)).jobs
    assert [(job.timeout, job.max_retries) for job in jobs] == [(2.5, 7), (2.5, 7), (None, None)]


async def test_types_in_one_batch_are_kept_apart(queue: Queue, worker: MakeWorker) -> None:
    await queue.submit([NewJob("a", b"1"), NewJob("a", b"2"), NewJob("b", b"3"), NewJob("a", b"4")])
    jobs = (await worker().claim("default", 9)).jobs
    assert [(job.type, job.payload) for job in jobs] == [("a", b"1"), ("a", b"2"), ("b", b"3"), ("a", b"4")]


async def test_batch_over_several_queues(queue: Queue, worker: MakeWorker) -> None:
    done = await queue.submit([noop(1, queue="a"), noop(2, queue="b"), noop(3, queue="a")])
    assert [parse_id(d.id).queue for d in done] == ["a", "b", "a"]
    assert await payloads(worker(), queue="a") == [b'{"n":1}', b'{"n":3}']
    assert await queue.queues() == ["a", "b"]


async def test_cluster_refuses_a_batch_over_several_queues(queue: Queue) -> None:
    if not queue.cluster:
        return
    with pytest.raises(InvalidRequest):
        await queue.submit([noop(queue="a"), noop(queue="b")])


# ---------------------------------------------------------------------- delays


async def test_delay_counts_from_the_servers_time(queue: Queue) -> None:
    [done] = await queue.submit([noop(delay_ms=60_000)])
    assert done.state is State.SCHEDULED
    assert done.run_at == submitted_ms(done.id) + 60_000
    view = await queue.get(done.id)
    assert view is not None
    assert (view.state, view.run_at) == (State.SCHEDULED, done.run_at)


async def test_run_at_in_the_past_is_now(queue: Queue) -> None:
    [done] = await queue.submit([noop(run_at_ms=1000)])
    assert (done.state, done.run_at) == (State.QUEUED, None)


async def test_run_at_is_kept_as_given(queue: Queue) -> None:
    at = await server_ms(queue) + 3_600_000
    [done] = await queue.submit([noop(run_at_ms=at)])
    assert (done.state, done.run_at) == (State.SCHEDULED, at)


async def test_delayed_job_is_not_handed_out_early(queue: Queue, worker: MakeWorker) -> None:
    [done] = await queue.submit([noop(delay_ms=60_000)])
    claim = await worker().claim("default", 10)
    assert claim.jobs == []
    assert claim.next_due == done.run_at


async def test_delayed_job_is_claimed_when_due(queue: Queue, worker: MakeWorker, until: Until) -> None:
    [done] = await queue.submit([noop(delay_ms=30)])
    claims = worker()

    async def claimed() -> Any:
        claim = await claims.claim("default", 10)
        return claim if claim.jobs else None

    claim = await until(claimed, "the delayed job")
    assert [job.id for job in claim.jobs] == [done.id]
    assert done.run_at is not None
    assert claim.now >= done.run_at
    assert claim.next_due is None


async def test_due_jobs_keep_their_priority(queue: Queue, worker: MakeWorker, until: Until) -> None:
    # By delays, which begin at one moment of the server: a time named here may have passed when they arrive.
    await queue.submit([noop(n, delay_ms=30, priority=priority) for n, priority in ((1, "low"), (2, "normal"), (3, "high"))])

    async def due() -> bool:
        return (await queue.stats(["default"]))[0].due == 3

    await until(due, "three due jobs")
    assert await payloads(worker()) == [b'{"n":3}', b'{"n":2}', b'{"n":1}']


async def test_promote_makes_due_jobs_ready(queue: Queue, until: Until) -> None:
    [soon, late] = await queue.submit([noop(1, delay_ms=20), noop(2, delay_ms=60_000)])

    async def promoted() -> Any:
        count, next_due = await queue.promote("default")
        return (next_due,) if count else None

    assert await until(promoted, "promotion") == (late.run_at,)
    view = await queue.get(soon.id)
    assert view is not None
    assert view.state is State.QUEUED
    assert await queue.promote("nowhere") == (0, None)


# ---------------------------------------------------------------------- limits


@pytest.fixture
def limited(queue: Queue, settings: Settings) -> Queue:
    queue.settings = settings.model_copy(update={"maxqueuelength": 3})
    return queue


async def test_full_queue_refuses_and_keeps_what_it_has(limited: Queue) -> None:
    await limited.submit([noop(), noop(delay_ms=60_000)])
    with pytest.raises(QueueFull) as caught:
        await limited.submit([noop(), noop()])
    assert caught.value.queue == "default"
    assert await live(limited) == 2
    await limited.submit([noop()])


async def test_full_queue_stops_the_whole_batch(limited: Queue) -> None:
    with pytest.raises(QueueFull) as caught:
        await limited.submit([noop(queue="a"), *[noop(queue="b")] * 4])
    assert caught.value.queue == "b"
    assert await live(limited, "a") == 0


async def test_running_jobs_count_as_held(limited: Queue, worker: MakeWorker) -> None:
    await limited.submit([noop()] * 3)
    await worker().claim("default", 3)
    with pytest.raises(QueueFull):
        await limited.submit([noop()])


async def test_finishing_makes_room(limited: Queue, worker: MakeWorker, end: Callable[..., Finish]) -> None:
    await limited.submit([noop()] * 3)
    claims = worker()
    jobs = (await claims.claim("default", 3)).jobs
    await claims.finish("default", [end(job, "succeeded") for job in jobs])
    assert len(await limited.submit([noop()] * 3)) == 3


async def test_repeat_of_an_idempotent_request_needs_no_room(limited: Queue) -> None:
    job = noop(idempotency_key="k", digest="d")
    [first] = await limited.submit([job])
    await limited.submit([noop()] * 2)
    [again] = await limited.submit([job])
    assert (again.id, again.created) == (first.id, False)


async def test_key_of_a_refused_job_is_free(limited: Queue) -> None:
    await limited.submit([noop()] * 3)
    with pytest.raises(QueueFull):
        await limited.submit([noop(idempotency_key="k", digest="a")])
    limited.settings = limited.settings.model_copy(update={"maxqueuelength": 0})
    [done] = await limited.submit([noop(idempotency_key="k", digest="b")])
    assert done.created


# ---------------------------------------------------------------------- idempotency


async def test_same_key_gives_the_same_job(queue: Queue) -> None:
    job = noop(idempotency_key="k", digest="d")
    [first] = await queue.submit([job])
    [again] = await queue.submit([job])
    assert (first.created, again.created) == (True, False)
    assert again.id == first.id
    assert await live(queue) == 1


async def test_same_key_gives_the_same_scheduled_job(queue: Queue) -> None:
    job = noop(idempotency_key="k", digest="d", delay_ms=60_000)
    [first] = await queue.submit([job])
    [again] = await queue.submit([job])
    assert (again.id, again.created) == (first.id, False)


async def test_same_key_after_the_job_has_finished(queue: Queue, worker: MakeWorker, end: Callable[..., Finish]) -> None:
    job = noop(idempotency_key="k", digest="d")
    [first] = await queue.submit([job])
    claims = worker()
    [claimed] = (await claims.claim("default", 1)).jobs
    await claims.finish("default", [end(claimed, "succeeded")])
    [again] = await queue.submit([job])
    assert (again.id, again.created) == (first.id, False)


async def test_repeat_within_a_batch(queue: Queue) -> None:
    job = noop(idempotency_key="k", digest="d")
    first, other, again = await queue.submit([job, noop(1), job])
    assert (first.created, other.created, again.created) == (True, True, False)
    assert again.id == first.id != other.id


async def test_other_body_under_the_same_key(queue: Queue) -> None:
    await queue.submit([noop(idempotency_key="k", digest="a")])
    with pytest.raises(IdempotencyConflict) as caught:
        await queue.submit([noop(1), noop(2, idempotency_key="k", digest="b")])
    assert caught.value.index == 1
    assert await live(queue) == 1


async def test_other_body_within_a_batch(queue: Queue) -> None:
    with pytest.raises(IdempotencyConflict) as caught:
        await queue.submit([noop(1, idempotency_key="k", digest="a"), noop(2, idempotency_key="k", digest="b")])
    assert caught.value.index == 1
    assert await live(queue) == 0


async def test_same_key_in_another_queue(queue: Queue) -> None:
    await queue.submit([noop(queue="a", idempotency_key="k", digest="d")])
    with pytest.raises(IdempotencyConflict):
        await queue.submit([noop(queue="b", idempotency_key="k", digest="d")])
    assert await live(queue, "b") == 0


async def test_conflict_across_queues_in_one_batch(queue: Queue) -> None:
    with pytest.raises(IdempotencyConflict) as caught:
        await queue.submit([noop(queue="a", idempotency_key="k", digest="d"), noop(queue="b", idempotency_key="k", digest="d")])
    assert caught.value.index == 1
    assert await live(queue, "a") == 0


async def test_keys_of_a_refused_batch_are_free(queue: Queue) -> None:
    await queue.submit([noop(idempotency_key="taken", digest="a")])
    with pytest.raises(IdempotencyConflict):
        await queue.submit([noop(idempotency_key="k", digest="a"), noop(idempotency_key="taken", digest="b")])
    [done] = await queue.submit([noop(idempotency_key="k", digest="other")])
    assert done.created
    with pytest.raises(IdempotencyConflict):
        await queue.submit([noop(idempotency_key="taken", digest="b")])


async def test_key_may_be_any_text(queue: Queue) -> None:
    names = ["", " ", "a b", "ключ", "{x}:done:y", "a" * 255, "\n"]
    jobs = [noop(idempotency_key=name, digest="d") for name in names if name]
    first = await queue.submit(jobs)
    again = await queue.submit(jobs)
    assert [d.id for d in again] == [d.id for d in first]
    assert not any(d.created for d in again)


async def test_key_is_forgotten_in_time(queue: Queue, settings: Settings, until: Until) -> None:
    queue.settings = settings.model_copy(update={"idempotencyttl": 1})
    [first] = await queue.submit([noop(idempotency_key="k", digest="a")])

    async def submitted() -> Any:
        try:
            return (await queue.submit([noop(idempotency_key="k", digest="b")]))[0]
        except IdempotencyConflict:
            return None

    assert (await until(submitted, "the key to expire")).id != first.id


async def test_many_keyed_jobs_in_one_batch(queue: Queue) -> None:
    jobs = [noop(n, idempotency_key=f"k{n}", digest="d") for n in range(1000)]
    first = await queue.submit(jobs)
    assert all(d.created for d in first)
    assert [d.id for d in await queue.submit(jobs)] == [d.id for d in first]
    page, _ = await queue.list_live(LiveFilter(), None, 2000)
    assert len(page) == 1000
