"""Claiming, ending, leases and crashes: what a worker may do, and what a stale one may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dtq.job import NewJob, State
from dtq.queue import LiveFilter, Queue, Reclaimed, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish

MakeWorker = Callable[..., Claims]
MakeEnd = Callable[..., Finish]
Until = Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]

EXPIRED = -1  # ms: a lease that has run out as soon as it is taken


async def submit(queue: Queue, count: int = 1, **options: Any) -> list[str]:
    return [done.id for done in await queue.submit([NewJob("noop", b'{"n":%d}' % n, **options) for n in range(count)])]


async def take(claims: Claims, count: int = 10) -> list[ClaimedJob]:
    return (await claims.claim("default", count)).jobs


async def state(queue: Queue, job_id: str) -> State | None:
    view = await queue.get(job_id)
    return view.state if view else None


async def outbox(queue: Queue) -> list[tuple[str, State]]:
    return [(row.id, row.state) for _, rows in await queue.read_outbox("default") for row in rows]


async def lose(queue: Queue, worker: MakeWorker, name: str) -> Reclaimed:
    """A worker takes a job and dies."""
    assert len(await take(worker(name, EXPIRED), 1)) == 1
    return await queue.reclaim("default")


# ---------------------------------------------------------------------- claim


async def test_claim_of_an_unknown_queue_brings_nothing(queue: Queue, worker: MakeWorker) -> None:
    claim = await worker().claim("nowhere", 10)
    assert (claim.jobs, claim.paused, claim.next_due) == ([], False, None)


async def test_claimed_job_knows_itself(queue: Queue, worker: MakeWorker) -> None:
    [job_id] = await submit(queue)
    [job] = await take(worker())
    assert (job.id, job.queue, job.type, job.attempt, job.recorded, job.defect) == (job_id, "default", "noop", 1, False, "")


async def test_no_job_is_claimed_twice(queue: Queue, worker: MakeWorker) -> None:
    ids = await submit(queue, 50)
    taken = [job.id for name in ("a", "b", "c") for job in await take(worker(name), 20)]
    assert sorted(taken) == ids


async def test_claimed_job_is_running(queue: Queue, worker: MakeWorker) -> None:
    [job_id] = await submit(queue)
    claim = await worker("w7").claim("default", 1)
    view = await queue.get(job_id)
    assert view is not None
    assert view.state is State.RUNNING
    assert view.started is not None
    assert abs(view.started - claim.now) < 1000
    assert [(a.number, a.worker, a.outcome) for a in view.attempts] == [(1, "w7", "running")]


async def test_paused_queue_hands_out_nothing(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue)
    await queue.pause("default")
    claim = await worker().claim("default", 1)
    assert (claim.paused, claim.jobs) == (True, [])
    await queue.resume("default")
    assert len(await take(worker())) == 1


async def test_running_jobs_end_while_paused(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    [job_id] = await submit(queue)
    claims = worker()
    [job] = await take(claims)
    await queue.pause("default")
    await claims.finish("default", [end(job, "succeeded")])
    assert await state(queue, job_id) is State.SUCCEEDED
    await queue.resume("default")


async def test_resuming_often_leaves_one_wake_up(queue: Queue) -> None:
    for _ in range(3):
        await queue.resume("default")


# ---------------------------------------------------------------------- finish


@pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled"])
async def test_terminal_state_and_row(queue: Queue, worker: MakeWorker, end: MakeEnd, how: str) -> None:
    [job_id] = await submit(queue)
    claims = worker()
    [job] = await take(claims)
    done = await claims.finish("default", [end(job, how)])
    assert (done.stale, done.cancelled) == (set(), set())
    assert await state(queue, job_id) is State(how)
    entries = await queue.read_outbox("default")
    assert [(entry, [row.id for row in rows]) for entry, rows in entries] == [(done.outbox, [job_id])]


async def test_finished_job_shows_its_result(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    [job_id] = await submit(queue)
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "succeeded")])
    view = await queue.get(job_id)
    assert view is not None
    assert (view.result, view.payload, len(view.attempts)) == (b'"ok"', b'{"n":0}', 1)
    assert view.finished is not None


async def test_failed_job_is_a_dead_letter(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await submit(queue)
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "failed")])
    assert (await queue.stats(["default"]))[0].dead == 1


async def test_retry_waits_and_counts(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until) -> None:
    [job_id] = await submit(queue)
    claims = worker()
    [job] = await take(claims)
    done = await claims.finish("default", [end(job, "retry", 30)])
    assert done.outbox is None
    view = await queue.get(job_id)
    assert view is not None
    assert view.state is State.RETRYING
    assert view.run_at is not None
    assert [a.outcome for a in view.attempts] == ["failed"]
    [again] = await until(lambda: take(claims), "the retry")
    assert (again.id, again.attempt, again.failures, again.crashes, again.recorded) == (job_id, 2, 1, 0, True)
    assert (again.payload, again.type, len(again.history)) == (job.payload, "noop", 1)


async def test_retry_keeps_priority_and_options(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until) -> None:
    await submit(queue, priority="high", timeout=3.0, max_retries=9)
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "retry", 0)])
    [again] = await until(lambda: take(claims), "the retry")
    assert (again.priority, again.timeout, again.max_retries) == ("high", 3.0, 9)


async def test_recorded_job_ends_without_a_trace(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until) -> None:
    [job_id] = await submit(queue)
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "retry", 0)])
    [again] = await until(lambda: take(claims), "the retry")
    await claims.finish("default", [end(again, "succeeded")])
    view = await queue.get(job_id)
    assert view is not None
    assert (view.state, len(view.attempts)) == (State.SUCCEEDED, 2)


async def test_handed_back_job_counts_no_attempt(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    [job_id] = await submit(queue)
    claims = worker("a")
    for _ in range(4):
        [job] = await take(claims)
        assert (job.id, job.attempt) == (job_id, 1)
        await claims.finish("default", [end(job, "hand_back")])
        assert await state(queue, job_id) is State.QUEUED


async def test_outbox_holds_just_what_was_accepted(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    ids = await submit(queue, 4)
    claims = worker()
    jobs = await take(claims)
    await claims.finish("default", [end(jobs[1], "succeeded")])
    done = await claims.finish(
        "default", [end(jobs[0], "succeeded"), end(jobs[1], "failed"), end(jobs[2], "retry", 60_000), end(jobs[3], "failed")]
    )
    assert done.stale == {1}
    assert await outbox(queue) == [(ids[1], State.SUCCEEDED), (ids[0], State.SUCCEEDED), (ids[3], State.FAILED)]


async def test_outbox_is_read_when_old_enough_and_cleared(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await submit(queue)
    claims = worker()
    [job] = await take(claims)
    done = await claims.finish("default", [end(job, "succeeded")])
    assert done.outbox is not None
    assert await queue.read_outbox("default", older_than_ms=60_000) == []
    assert await queue.outbox_length(["default", "nowhere"]) == 1
    await queue.clear_outbox("default", [done.outbox])
    assert await queue.outbox_length(["default"]) == 0


async def test_what_is_stored_at_last_is_kept_no_longer_than_usual(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    ids = await submit(queue, 2)
    claims = worker()
    claims.keep_results(7 * 86_400_000)  # PostgreSQL is away
    jobs = await take(claims, 2)
    await claims.finish("default", [end(job, "succeeded") for job in jobs])
    [(entry, rows)] = await queue.read_outbox("default")
    await queue.clear_outbox("default", [entry], rows)
    for job_id in ids:
        assert 0 < await queue.client.pttl(keys.done("default", job_id)) <= 300_000
    assert await queue.outbox_length(["default"]) == 0


async def test_many_jobs_end_in_one_call(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await submit(queue, 1000)
    claims = worker()
    jobs = await take(claims, 1000)
    done = await claims.finish("default", [end(job, "succeeded") for job in jobs])
    assert done.stale == set()
    [stats] = await queue.stats(["default"])
    assert (stats.ready, stats.running, stats.outbox) == (0, 0, 1)


# ---------------------------------------------------------------------- fencing


@pytest.mark.parametrize("how", ["succeeded", "failed", "retry", "hand_back"])
async def test_another_workers_finish_changes_nothing(queue: Queue, worker: MakeWorker, end: MakeEnd, how: str) -> None:
    [job_id] = await submit(queue)
    [job] = await take(worker("owner"))
    done = await worker("thief").finish("default", [end(job, how)])
    assert (done.stale, done.outbox) == ({0}, None)
    view = await queue.get(job_id)
    assert view is not None
    assert (view.state, view.attempts[-1].worker) == (State.RUNNING, "owner")
    assert await outbox(queue) == []


@pytest.mark.parametrize("how", ["succeeded", "failed", "retry", "hand_back"])
async def test_expired_workers_finish_changes_nothing(queue: Queue, worker: MakeWorker, end: MakeEnd, how: str) -> None:
    [job_id] = await submit(queue)
    slow = worker("slow", EXPIRED)
    [job] = await take(slow)
    await queue.reclaim("default")
    [again] = await take(worker("next"))
    done = await slow.finish("default", [end(job, how)])
    assert done.stale == {0}
    view = await queue.get(job_id)
    assert view is not None
    assert (view.state, view.attempts[-1].worker) == (State.RUNNING, "next")
    done = await worker("next").finish("default", [end(again, "succeeded")])
    assert done.stale == set()
    assert await outbox(queue) == [(job_id, State.SUCCEEDED)]


async def test_late_finish_after_a_newer_end_changes_nothing(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    [job_id] = await submit(queue)
    slow = worker("slow", EXPIRED)
    [job] = await take(slow)
    await queue.reclaim("default")
    [again] = await take(worker("next"))
    await worker("next").finish("default", [end(again, "failed")])
    assert (await slow.finish("default", [end(job, "succeeded")])).stale == {0}
    assert await state(queue, job_id) is State.FAILED


@pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled", "retry"])
async def test_an_ending_whose_answer_was_lost_may_be_sent_again(queue: Queue, worker: MakeWorker, end: MakeEnd, how: str) -> None:
    await submit(queue)
    claims = worker()
    [job] = await take(claims)
    ending = end(job, how, 60_000)
    await claims.finish("default", [ending])
    again = await claims.finish("default", [ending])
    assert (again.outbox, again.stale, again.repeated) == (None, set(), {0})
    assert len(await outbox(queue)) == (0 if how == "retry" else 1)


async def test_another_ending_of_a_job_that_has_ended_is_stale(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await submit(queue)
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "succeeded")])
    for how in ("failed", "retry", "hand_back"):
        done = await claims.finish("default", [end(job, how)])
        assert (done.stale, done.repeated) == ({0}, set())
    assert len(await outbox(queue)) == 1


@pytest.mark.parametrize("how", ["succeeded", "failed", "retry", "hand_back"])
async def test_finishing_twice_in_one_batch_ends_once(queue: Queue, worker: MakeWorker, end: MakeEnd, how: str) -> None:
    await submit(queue)
    claims = worker()
    [job] = await take(claims)
    done = await claims.finish("default", [end(job, how, 60_000), end(job, how, 60_000)])
    assert 0 not in done.stale
    assert len(await outbox(queue)) == (1 if how in ("succeeded", "failed") else 0)
    page, _ = await queue.list_live(LiveFilter(), None, 10)
    assert [view.id for view in page] == ([] if how in ("succeeded", "failed") else [job.id])
    assert [len(view.attempts) for view in page] in ([], [1 if how == "retry" else 0])


async def test_own_earlier_attempt_is_stale(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    [job_id] = await submit(queue)
    claims = worker()
    [first] = await take(claims)
    await claims.finish("default", [end(first, "hand_back")])
    await take(claims)
    assert (await claims.finish("default", [end(first, "succeeded")])).stale == {0}
    assert await state(queue, job_id) is State.RUNNING


# ---------------------------------------------------------------------- leases


async def test_held_lease_is_not_reclaimed(queue: Queue, worker: MakeWorker) -> None:
    [job_id] = await submit(queue)
    await take(worker())
    assert await queue.reclaim("default", audit=True) == Reclaimed(0, 0, 0, 0)
    assert await state(queue, job_id) is State.RUNNING


async def test_renewal_keeps_the_claims(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue)
    await take(worker("w", EXPIRED))
    assert (await worker("w").renew("default")).held
    assert await queue.reclaim("default") == Reclaimed(0, 0, 0, 0)


async def test_renewal_after_reclaim_says_that_the_claims_are_lost(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue)
    await take(worker("w", EXPIRED))
    await queue.reclaim("default")
    assert not (await worker("w").renew("default")).held


async def test_lease_runs_out_by_the_servers_clock(queue: Queue, worker: MakeWorker, until: Until) -> None:
    [job_id] = await submit(queue)
    await take(worker("w", 40))

    async def reclaimed() -> bool:
        return (await queue.reclaim("default")).requeued == 1

    await until(reclaimed, "the lease to run out")
    assert await state(queue, job_id) is State.QUEUED


async def test_dead_workers_jobs_run_again_first(queue: Queue, worker: MakeWorker) -> None:
    [lost] = await submit(queue)
    await take(worker("dead", EXPIRED))
    await submit(queue, 1, priority="high")
    assert await queue.reclaim("default") == Reclaimed(1, 0, 0, 1)
    [job, _] = await take(worker())
    assert (job.id, job.attempt, job.failures, job.crashes) == (lost, 2, 0, 1)
    assert [(a.worker, a.outcome) for a in job.history] == [("dead", "lost")]


async def test_third_crash_fails_the_job(queue: Queue, worker: MakeWorker) -> None:
    [job_id] = await submit(queue)
    for name in ("a", "b"):
        assert await lose(queue, worker, name) == Reclaimed(1, 0, 0, 1)
    assert await lose(queue, worker, "c") == Reclaimed(0, 1, 0, 1)
    view = await queue.get(job_id)
    assert view is not None
    assert view.state is State.FAILED
    assert view.error is not None
    assert view.error.kind == "worker_lost"
    assert [a.worker for a in view.attempts] == ["a", "b", "c"]
    assert [a.number for a in view.attempts] == [1, 2, 3]
    assert await outbox(queue) == [(job_id, State.FAILED)]
    assert (await queue.stats(["default"]))[0].dead == 1


async def test_crashes_are_counted_apart_from_failures(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until) -> None:
    await submit(queue)
    claims = worker()
    for delay in (0, 0, 0):
        [job] = await until(lambda: take(claims), "a retry")
        await claims.finish("default", [end(job, "retry", delay)])
    await until(lambda: promoted_or_ready(queue), "the last retry")
    assert await lose(queue, worker, "dead") == Reclaimed(1, 0, 0, 1)
    [job] = await take(claims)
    assert (job.failures, job.crashes, job.attempt) == (3, 1, 5)


async def promoted_or_ready(queue: Queue) -> bool:
    [stats] = await queue.stats(["default"])
    return stats.ready + stats.due == 1


async def test_reclaim_in_small_steps(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue, 5)
    await submit(queue, 5, priority="low")
    assert len(await take(worker("dead", EXPIRED))) == 10
    steps = [(await queue.reclaim("default", limit=4)).requeued for _ in range(4)]
    assert steps == [4, 4, 2, 0]
    assert len(await take(worker(), 20)) == 10


async def test_many_dead_workers(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue, 40)
    for n in range(40):
        await take(worker(f"dead{n}", EXPIRED), 1)
    total = removed = 0
    for _ in range(4):
        done = await queue.reclaim("default")
        total, removed = total + done.requeued, removed + done.workers
    assert (total, removed) == (40, 40)
    assert (await queue.stats(["default"]))[0].ready == 40


async def test_audit_finds_consumers_without_a_lease(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue)
    await take(worker())
    await queue.client.delete("dtq:{default}:workers")
    assert (await queue.reclaim("default")).requeued == 0
    assert (await queue.reclaim("default", audit=True)).requeued == 1


async def test_leaving_with_claims_lets_them_be_reclaimed_at_once(queue: Queue, worker: MakeWorker) -> None:
    await submit(queue, 2)
    claims = worker()
    await take(claims)
    assert await claims.leave("default") == 1
    assert (await queue.reclaim("default")).requeued == 2


async def test_leaving_without_claims_leaves_no_trace(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await submit(queue)
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "succeeded")])
    assert await claims.leave("default") == 0
    assert (await queue.stats(["default"]))[0].workers == 0
    assert await queue.reclaim("default", audit=True) == Reclaimed(0, 0, 0, 0)


async def test_leaving_a_queue_never_used(queue: Queue, worker: MakeWorker) -> None:
    assert await worker().leave("nowhere") == 0


async def test_old_dead_letters_are_dropped_by_audit(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await submit(queue)
    claims = worker()
    [job] = await take(claims)
    await claims.finish("default", [end(job, "failed")])
    await queue.client.zadd("dtq:{default}:dead", {job.id: 1000})
    await queue.reclaim("default", audit=True)
    assert (await queue.stats(["default"]))[0].dead == 0
