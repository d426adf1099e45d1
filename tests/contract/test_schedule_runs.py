"""Ticks of schedules: fired at most once, under the concurrency policy, and watched until forgotten."""

from __future__ import annotations

from collections.abc import Callable

from dtq.job import NewJob, State
from dtq.queue import FireTick, Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish

MakeWorker = Callable[..., Claims]
MakeEnd = Callable[..., Finish]

MINUTE = 1_760_000_040_000


def tick(minute: int = MINUTE, policy: str = "Allow", uid: str = "u1", priority: str = "normal") -> FireTick:
    return FireTick(uid, "nightly", minute, policy, NewJob("noop", b'{"n":1}', priority=priority, timeout=3.0))


async def take(claims: Claims) -> list[ClaimedJob]:
    return (await claims.claim("default", 10)).jobs


async def test_tick_starts_a_job(queue: Queue, worker: MakeWorker) -> None:
    fired = await queue.fire(tick(priority="high"))
    assert (fired.outcome, fired.active) == ("started", [fired.id])
    [job] = await take(worker())
    assert (job.id, job.schedule, job.timeout, job.priority, job.submitted) == (fired.id, "nightly", 3.0, "high", MINUTE)
    assert await queue.queues() == ["default"]


async def test_tick_is_fired_once(queue: Queue) -> None:
    first = await queue.fire(tick())
    again = await queue.fire(tick())
    assert (again.outcome, again.id) == ("duplicate", first.id)
    assert (await queue.stats(["default"]))[0].ready == 1


async def test_tick_is_fired_once_even_after_its_job_ended(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await queue.fire(tick())
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "succeeded")])
    assert (await queue.fire(tick())).outcome == "duplicate"


async def test_earlier_tick_after_a_later_one_is_a_duplicate(queue: Queue) -> None:
    await queue.fire(tick(MINUTE + 60_000))
    assert (await queue.fire(tick(MINUTE))).outcome == "duplicate"


async def test_schedules_do_not_touch_each_other(queue: Queue) -> None:
    first, second = await queue.fire(tick(uid="u1")), await queue.fire(tick(uid="u2", policy="Forbid"))
    assert (second.outcome, second.active) == ("started", [second.id])
    assert first.id != second.id


async def test_allow_runs_side_by_side(queue: Queue) -> None:
    first = await queue.fire(tick())
    second = await queue.fire(tick(MINUTE + 60_000))
    assert second.outcome == "started"
    assert set(second.active) == {first.id, second.id}


async def test_forbid_waits_for_the_running_one(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    first = await queue.fire(tick(policy="Forbid"))
    second = await queue.fire(tick(MINUTE + 60_000, "Forbid"))
    assert (second.outcome, second.id, second.active) == ("active", None, [first.id])
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "failed")])
    # A refused tick has not fired: CronJob starts it late, as long as its deadline allows.
    assert (await queue.fire(tick(MINUTE + 60_000, "Forbid"))).outcome == "started"


async def test_forbid_counts_a_retrying_run_as_live(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await queue.fire(tick(policy="Forbid"))
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "retry", 60_000)])
    assert (await queue.fire(tick(MINUTE + 60_000, "Forbid"))).outcome == "active"


async def test_replace_cancels_a_waiting_run(queue: Queue) -> None:
    first = await queue.fire(tick(policy="Replace"))
    second = await queue.fire(tick(MINUTE + 60_000, "Replace"))
    assert (second.outcome, second.active) == ("started", [second.id])
    view = await queue.get(str(first.id))
    assert view is not None
    assert view.state is State.CANCELLED


async def test_replace_asks_a_running_one_to_stop(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    first = await queue.fire(tick(policy="Replace"))
    claims = worker()
    [job] = await take(claims)
    second = await queue.fire(tick(MINUTE + 60_000, "Replace"))
    assert (second.outcome, set(second.active)) == ("started", {first.id, second.id})
    assert (await claims.renew("default")).cancels == [first.id]
    await claims.finish("default", [end(job, "cancelled")])


async def test_run_by_hand_is_outside_any_policy(queue: Queue) -> None:
    await queue.fire(tick(policy="Forbid"))
    by_hand = [await queue.fire(tick(0, "Forbid")) for _ in range(2)]
    assert [fired.outcome for fired in by_hand] == ["started", "started"]
    assert len({fired.id for fired in by_hand}) == 2
    assert len(by_hand[1].active) == 3


async def test_runs_are_listed_until_forgotten(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    first = await queue.fire(tick())
    claims = worker()
    [job] = await take(claims)
    [run] = await queue.runs("default", "u1")
    assert (run.id, run.tick_ms, run.state) == (first.id, MINUTE, "live")
    await claims.finish("default", [end(job, "succeeded")])
    [run] = await queue.runs("default", "u1")
    assert run.state == "succeeded"
    assert run.finished_ms > 0
    assert await queue.runs("default", "u1", [run.id]) == []


async def test_run_that_redis_has_forgotten_is_gone(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await queue.fire(tick())
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "succeeded")])
    await queue.client.delete(keys.done("default", job.id))
    [run] = await queue.runs("default", "u1")
    assert run.state == "gone"


async def test_deleted_schedule_leaves_its_run_alone(queue: Queue, worker: MakeWorker) -> None:
    fired = await queue.fire(tick())
    await queue.forget_schedule("default", "u1")
    assert await queue.runs("default", "u1") == []
    assert [job.id for job in await take(worker())] == [fired.id]


async def test_unwatched_runs_stay_few(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    claims = worker()
    for n in range(230):
        await queue.fire(tick(MINUTE + n * 60_000))
        [job] = await take(claims)
        await claims.finish("default", [end(job, "succeeded")])
    assert len(await queue.runs("default", "u1")) <= 202
