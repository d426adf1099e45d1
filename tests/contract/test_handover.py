"""An idle worker is handed the next job: by whom, in what order, and when not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dtq.job import NewJob, State
from dtq.queue import Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish, read_box

MakeWorker = Callable[..., Claims]
MakeEnd = Callable[..., Finish]

DEAD = -1  # ms: a lease that has run out as soon as it is taken


async def submit(queue: Queue, count: int = 1, **options: Any) -> list[str]:
    return [done.id for done in await queue.submit([NewJob("noop", b'{"n":%d}' % n, **options) for n in range(count)])]


async def idle(claims: Claims) -> Claims:
    assert (await claims.claim("default", 1, wait=True)).jobs == []
    return claims


async def box(claims: Claims) -> list[ClaimedJob | None]:
    """What was left in a worker's box, without ending its wait for longer than this look."""
    return [read_box("default", content) for content in await claims.retract("default")]


async def test_job_for_an_idle_worker_is_claimed_for_it(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    claims = await idle(worker("w7"))
    [job_id] = await submit(queue)
    view = await queue.get(job_id)
    assert view is not None
    assert (view.state, view.attempts[0].worker) == (State.RUNNING, "w7")
    [job] = await box(claims)
    assert job is not None
    assert (job.id, job.type, job.payload, job.attempt, job.recorded) == (job_id, "noop", b'{"n":0}', 1, False)
    assert (await claims.finish("default", [end(job, "succeeded")])).stale == set()


async def test_job_in_a_box_is_as_a_claim_gives_it(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    """With options and a history: the first attempt failed."""
    payload = '{"text":"grün \\u0000 \\" / 漢 \x7f"}'.encode()
    claims = worker("a")
    await queue.submit([NewJob("noop", payload, timeout=2.5, max_retries=7, priority="high")])
    [first] = (await claims.claim("default", 1)).jobs
    await claims.finish("default", [end(first, "retry", 0)])
    await queue.promote("default")
    [claimed] = (await claims.claim("default", 1)).jobs
    await claims.finish("default", [end(claimed, "hand_back")])
    [again] = (await claims.claim("default", 1)).jobs
    await idle(claims)
    await claims.finish("default", [end(again, "hand_back")])
    [handed] = await box(claims)
    assert handed is not None
    handed.entry = again.entry  # each hand back makes a new one
    assert handed == again
    assert (handed.payload, handed.timeout, handed.max_retries, handed.failures, handed.priority) == (payload, 2.5, 7, 1, "high")


async def test_each_idle_worker_gets_one(queue: Queue, worker: MakeWorker) -> None:
    """The one that has waited longest first; the rest stays for claims."""
    one, two = await idle(worker("one")), await idle(worker("two"))
    ids = [(await submit(queue))[0] for _ in range(3)]
    assert [[job.id for job in await box(claims) if job] for claims in (one, two)] == [[ids[0]], [ids[1]]]
    assert [job.id for job in (await one.claim("default", 9)).jobs] == [ids[2]]


async def test_batch_wakes_the_next_idle_worker_when_the_first_is_full(queue: Queue, worker: MakeWorker) -> None:
    one, two = await idle(worker("one")), await idle(worker("two"))
    ids = await submit(queue, 4)
    assert [job.id for job in await box(one) if job] == [ids[0]]
    assert await queue.client.exists(keys.box("default", "two")) == 0
    assert [job.id for job in (await one.claim("default", 2)).jobs] == ids[1:3]
    assert [job.id for job in await box(two) if job] == [ids[3]]


async def test_full_worker_is_not_idle(queue: Queue, worker: MakeWorker) -> None:
    claims = await idle(worker())
    await submit(queue, 2)
    await box(claims)
    assert len((await claims.claim("default", 1, wait=True)).jobs) == 1
    [late] = await submit(queue)
    assert await box(claims) == []
    view = await queue.get(late)
    assert view is not None
    assert view.state is State.QUEUED


async def test_retracted_worker_is_not_idle(queue: Queue, worker: MakeWorker) -> None:
    claims = await idle(worker())
    await claims.retract("default")
    await submit(queue)
    assert await box(claims) == []


async def test_word_is_left_on_request(queue: Queue, worker: MakeWorker) -> None:
    claims = await idle(worker())
    await submit(queue)
    assert len(await claims.retract("default", word=True)) == 1
    assert await box(claims) == [None]


async def test_word_of_a_worker_that_is_gone_does_not_stay(queue: Queue, worker: MakeWorker) -> None:
    """It has no lease, so reclaim knows nothing of it."""
    await worker("gone").retract("default", word=True)
    assert 0 < await queue.client.pttl(keys.box("default", "gone")) <= 3_600_000


async def test_dead_worker_is_passed_over(queue: Queue, worker: MakeWorker) -> None:
    dead, alive = await idle(worker("dead", DEAD)), await idle(worker("alive"))
    [job_id] = await submit(queue)
    assert await box(dead) == []
    assert [job.id for job in await box(alive) if job] == [job_id]


async def test_reclaim_takes_what_was_left_in_a_dead_workers_box(queue: Queue, worker: MakeWorker) -> None:
    claims = await idle(worker("a"))
    [job_id] = await submit(queue)
    await queue.client.zadd(f"{keys.prefix('default')}:workers", {"a": 0})
    assert (await queue.reclaim("default")).requeued == 1
    assert await box(claims) == []
    [job] = (await worker("b").claim("default", 1)).jobs
    assert (job.id, job.crashes) == (job_id, 1)


async def test_leaving_worker_is_not_idle(queue: Queue, worker: MakeWorker) -> None:
    claims = await idle(worker())
    await claims.leave("default")
    await submit(queue)
    assert await queue.client.exists(keys.idle("default"), keys.box("default", "w1")) == 0


async def test_paused_queue_hands_over_nothing_until_it_is_resumed(queue: Queue, worker: MakeWorker) -> None:
    claims = await idle(worker())
    await queue.pause("default")
    [job_id] = await submit(queue)
    assert await queue.client.exists(keys.box("default", "w1")) == 0
    await queue.resume("default")
    assert [job.id for job in await box(claims) if job] == [job_id]


async def test_worker_waits_at_a_paused_queue_too(queue: Queue, worker: MakeWorker) -> None:
    await queue.pause("default")
    [job_id] = await submit(queue)
    claims = await idle(worker())
    await queue.resume("default")
    assert [job.id for job in await box(claims) if job] == [job_id]


async def test_idle_worker_is_told_when_the_next_job_is_due(queue: Queue, worker: MakeWorker) -> None:
    claims = await idle(worker())
    await submit(queue, delay_ms=60_000)
    assert await box(claims) == [None]
    await idle(claims)
    await submit(queue, delay_ms=90_000)  # after the first: nothing new
    assert await box(claims) == []


@pytest.mark.parametrize("how", ["hand_back", "reclaim", "promote", "replay"])
async def test_whatever_makes_a_job_ready_hands_it_over(queue: Queue, worker: MakeWorker, end: MakeEnd, how: str) -> None:
    other = worker("other", DEAD if how == "reclaim" else 60_000)
    [job_id] = await submit(queue)
    [job] = (await other.claim("default", 1)).jobs
    if how == "promote":
        await other.finish("default", [end(job, "retry", 0)])
    if how == "replay":
        await other.finish("default", [end(job, "failed")])
    claims = await idle_without_claim(worker())
    if how == "hand_back":
        await other.finish("default", [end(job, "hand_back")])
    elif how == "reclaim":
        await queue.reclaim("default")
    elif how == "promote":
        await queue.promote("default")
    else:
        await queue.replay(job_id)
    assert [found.id for found in await box(claims) if found] == [job_id]


async def idle_without_claim(claims: Claims) -> Claims:
    """Idle as after a claim, which would promote what is due."""
    await claims.renew("default")
    await claims._wire.call("ZADD", keys.idle("default"), 1, claims.worker)
    return claims


async def test_damaged_list_of_idle_workers_stops_no_submit(raw_queue: Queue) -> None:
    await raw_queue.client.set(keys.idle("default"), "oops")
    [job_id] = await submit(raw_queue)
    view = await raw_queue.get(job_id)
    assert view is not None
    assert view.state is State.QUEUED
