"""One job seen from outside: look-up, cancel, replay, lists and numbers, in every state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from dtq.errors import IllegalTransition, InvalidCursor, InvalidJobId
from dtq.job import Attempt, NewJob, State, TerminalJob
from dtq.queue import LiveFilter, Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish

MakeWorker = Callable[..., Claims]
MakeEnd = Callable[..., Finish]
Until = Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]
Put = Callable[[str], Awaitable[tuple[str, ClaimedJob | None]]]

STATES = ["scheduled", "queued", "running", "retrying", "succeeded", "failed", "cancelled"]
LIVE = STATES[:4]


async def submit(queue: Queue, **options: Any) -> str:
    return (await queue.submit([NewJob("noop", b'{"n":1}', **options)]))[0].id


@pytest.fixture
def put(queue: Queue, worker: MakeWorker, end: MakeEnd) -> Put:
    """Brings a new job into a state: ``job_id, claim = await put("running")``. The queue must be otherwise without ready jobs."""

    async def bring(state: str) -> tuple[str, ClaimedJob | None]:
        if state == "scheduled":
            return await submit(queue, delay_ms=60_000), None
        job_id = await submit(queue)
        if state == "queued":
            return job_id, None
        claims = worker("w1")
        [job] = (await claims.claim("default", 1)).jobs
        if state != "running":
            await claims.finish("default", [end(job, "retry" if state == "retrying" else state, 60_000)])
        return job_id, job

    return bring


async def state_of(queue: Queue, job_id: str) -> State | None:
    view = await queue.get(job_id)
    return view.state if view else None


async def rows(queue: Queue) -> list[TerminalJob]:
    return [row for _, found in await queue.read_outbox("default") for row in found]


# ---------------------------------------------------------------------- get


@pytest.mark.parametrize("state", STATES)
async def test_get_in_every_state(queue: Queue, put: Put, state: str) -> None:
    job_id, _ = await put(state)
    view = await queue.get(job_id)
    assert view is not None
    assert (view.id, view.queue, view.type, view.state) == (job_id, "default", "noop", state)
    assert (view.payload, view.priority) == (b'{"n":1}', "normal")
    assert (view.finished is None) == (state in LIVE)
    assert (view.run_at is not None) == (state in ("scheduled", "retrying"))


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
async def test_get_shows_what_was_submitted(queue: Queue, priority: str) -> None:
    view = await queue.get(await submit(queue, priority=priority, timeout=1.5, max_retries=2))
    assert view is not None
    assert (view.priority, view.timeout, view.max_retries) == (priority, 1.5, 2)


async def test_get_shows_progress(queue: Queue, put: Put) -> None:
    job_id, _ = await put("running")
    await queue.client.set(keys.progress("default", job_id), b'{"fraction":0.5,"message":"half"}', ex=60)
    view = await queue.get(job_id)
    assert view is not None
    assert view.progress == {"fraction": 0.5, "message": "half"}


async def test_get_of_a_retry_shows_both_attempts(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until) -> None:
    job_id = await submit(queue)
    claims = worker("w1")
    [job] = (await claims.claim("default", 1)).jobs
    await claims.finish("default", [end(job, "retry", 0)])

    async def again() -> Any:
        return (await claims.claim("default", 1)).jobs

    await until(again, "the retry")
    view = await queue.get(job_id)
    assert view is not None
    assert [(a.number, a.outcome) for a in view.attempts] == [(1, "failed"), (2, "running")]


@pytest.mark.parametrize("kind", "hnldt")
async def test_get_of_an_unknown_job(queue: Queue, kind: str) -> None:
    assert await queue.get(f"0197000000000001{kind}-default") is None


@pytest.mark.parametrize(
    "text", ["", "x", "0197000000000001x-default", "0197000000000001n-", "0197000000000001n-a b", "0197000000000001n-a\n"]
)
async def test_get_of_what_is_no_id(queue: Queue, text: str) -> None:
    with pytest.raises(InvalidJobId):
        await queue.get(text)


async def test_get_many_keeps_the_order(queue: Queue, put: Put) -> None:
    ids = [(await put(state))[0] for state in ("succeeded", "running", "scheduled", "queued")]
    views = await queue.get_many([*ids, "0197000000000001n-other"])
    assert [view and view.id for view in views] == [*ids, None]


async def test_get_many_on_a_server_that_lost_its_scripts(queue: Queue) -> None:
    job_id = await submit(queue)
    await queue.get_many([job_id])
    await queue.client.script_flush()
    [view] = await queue.get_many([job_id])
    assert view is not None


# ---------------------------------------------------------------------- wait


async def test_wait_returns_when_the_job_ends(queue: Queue, put: Put) -> None:
    job_id, _ = await put("succeeded")
    await queue.wait(job_id, 10)


async def test_wait_gives_up_in_time(queue: Queue, put: Put) -> None:
    queued, _ = await put("queued")
    await queue.wait([queued], 0.02)
    assert await queue.finished([queued]) == set()


# ---------------------------------------------------------------------- cancel


@pytest.mark.parametrize("state", ["scheduled", "queued", "retrying"])
async def test_waiting_job_is_cancelled_at_once(queue: Queue, worker: MakeWorker, put: Put, state: str) -> None:
    job_id, _ = await put(state)
    assert await queue.cancel(job_id) is State.CANCELLED
    assert await state_of(queue, job_id) is State.CANCELLED
    [row] = await rows(queue)
    assert (row.id, row.state, bytes(row.payload)) == (job_id, State.CANCELLED, b'{"n":1}')
    assert row.error is not None
    assert row.error.kind == "cancelled"
    claim = await worker().claim("default", 10)
    assert (claim.jobs, claim.next_due) == ([], None)


async def test_running_job_is_asked_to_stop(queue: Queue, worker: MakeWorker, end: MakeEnd, put: Put) -> None:
    job_id, job = await put("running")
    assert await queue.cancel(job_id) is State.RUNNING
    view = await queue.get(job_id)
    assert view is not None
    assert view.cancel_requested
    assert (await worker("w1").renew("default")).cancels == [job_id]
    await worker("w1").finish("default", [end(job, "cancelled")])
    assert await state_of(queue, job_id) is State.CANCELLED


async def test_running_job_may_still_succeed(queue: Queue, worker: MakeWorker, end: MakeEnd, put: Put) -> None:
    job_id, job = await put("running")
    await queue.cancel(job_id)
    await worker("w1").finish("default", [end(job, "succeeded")])
    assert await state_of(queue, job_id) is State.SUCCEEDED
    assert (await worker("w1").renew("default")).cancels == []


@pytest.mark.parametrize("how", ["retry", "hand_back"])
async def test_asked_job_is_cancelled_instead_of_run_again(queue: Queue, worker: MakeWorker, end: MakeEnd, put: Put, how: str) -> None:
    job_id, job = await put("running")
    await queue.cancel(job_id)
    done = await worker("w1").finish("default", [end(job, how)])
    assert done.cancelled == {0}
    assert await state_of(queue, job_id) is State.CANCELLED
    assert [row.id for row in await rows(queue)] == [job_id]


async def test_asked_job_of_a_dead_worker_is_cancelled(queue: Queue, worker: MakeWorker) -> None:
    job_id = await submit(queue)
    await worker("dead", -1).claim("default", 1)
    await queue.cancel(job_id)
    assert (await queue.reclaim("default")).cancelled == 1
    assert await state_of(queue, job_id) is State.CANCELLED


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
async def test_finished_job_cannot_be_cancelled(queue: Queue, put: Put, state: str) -> None:
    job_id, _ = await put(state)
    assert await queue.cancel(job_id) is State(state)
    assert len(await rows(queue)) == 1


async def test_cancel_of_an_unknown_job(queue: Queue) -> None:
    assert await queue.cancel("0197000000000001n-default") is None


async def test_cancelled_row_keeps_the_options(queue: Queue) -> None:
    await queue.cancel(await submit(queue, priority="low", timeout=1.5, max_retries=0))
    [row] = await rows(queue)
    assert (row.priority, row.timeout, row.max_retries) == ("low", 1.5, 0)


# ---------------------------------------------------------------------- replay


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_replay_runs_the_job_again_under_its_id(queue: Queue, worker: MakeWorker, put: Put, state: str) -> None:
    job_id, _ = await put(state)
    done = await queue.replay(job_id)
    assert done is not None
    assert (done.id, done.state) == (job_id, State.QUEUED)
    [job] = (await worker().claim("default", 1)).jobs
    assert (job.id, job.payload, job.failures, job.replays, len(job.history)) == (job_id, b'{"n":1}', 0, 1, 1)
    assert (await queue.stats(["default"]))[0].dead == 0


async def test_replayed_job_ends_with_a_newer_row(queue: Queue, worker: MakeWorker, end: MakeEnd, put: Put) -> None:
    job_id, _ = await put("failed")
    await queue.replay(job_id)
    claims = worker()
    [job] = (await claims.claim("default", 1)).jobs
    await claims.finish("default", [end(job, "succeeded")])
    assert [(row.state, row.replays) for row in await rows(queue)] == [(State.FAILED, 0), (State.SUCCEEDED, 1)]


async def test_replay_from_the_row_when_redis_has_forgotten(queue: Queue, put: Put) -> None:
    job_id, _ = await put("failed")
    [row] = await rows(queue)
    await queue.client.delete(keys.failed("default", job_id))
    assert await queue.replay(job_id) is None
    assert await queue.replay(job_id, row) is not None
    assert await state_of(queue, job_id) is State.QUEUED


async def test_attempts_are_numbered_on_though_only_the_latest_are_kept(queue: Queue, worker: MakeWorker, put: Put, until: Until) -> None:
    job_id, _ = await put("failed")
    [row] = await rows(queue)
    await queue.client.delete(keys.failed("default", job_id))
    history = [Attempt(number, "w1", outcome="failed") for number in range(1, 26)]
    await queue.replay(job_id, msgspec.structs.replace(row, attempts=history))
    [job] = (await worker("w2", lease_ms=1).claim("default", 1)).jobs
    running = await queue.get(job_id)
    assert running is not None
    assert job.number == running.attempts[-1].number == 26

    async def taken() -> int:
        return (await queue.reclaim("default")).requeued

    await until(taken, "the job of the dead worker to be taken")
    [job] = (await worker().claim("default", 1)).jobs
    assert [attempt.number for attempt in job.history] == list(range(6, 27))
    assert job.number == 27


@pytest.mark.parametrize("state", [*LIVE, "succeeded"])
async def test_replay_of_what_has_not_failed(queue: Queue, put: Put, state: str) -> None:
    job_id, _ = await put(state)
    with pytest.raises(IllegalTransition):
        await queue.replay(job_id)
    assert await state_of(queue, job_id) is State(state)


async def test_replaying_twice_runs_once(queue: Queue, put: Put) -> None:
    job_id, _ = await put("failed")
    [row] = await rows(queue)
    await queue.replay(job_id, row)
    with pytest.raises(IllegalTransition):
        await queue.replay(job_id, row)
    assert (await queue.stats(["default"]))[0].ready == 1


async def test_replayed_job_can_be_cancelled(queue: Queue, put: Put) -> None:
    job_id, _ = await put("failed")
    await queue.replay(job_id)
    assert await queue.cancel(job_id) is State.CANCELLED


# ---------------------------------------------------------------------- stats

COUNTED = {"scheduled": "delayed", "queued": "ready", "running": "running", "retrying": "delayed", "failed": "dead"}


@pytest.mark.parametrize("state", STATES)
async def test_stats_in_every_state(queue: Queue, put: Put, state: str) -> None:
    await put(state)
    [stats] = await queue.stats(["default"])
    found = {name for name in ("ready", "due", "delayed", "running", "dead") if getattr(stats, name)}
    assert found == ({COUNTED[state]} if state in COUNTED else set())
    assert stats.demand == (1 if state in ("queued", "running") else 0)
    assert stats.workers == (0 if state in ("scheduled", "queued") else 1)
    assert stats.outbox == (1 if state in ("succeeded", "failed", "cancelled") else 0)


async def test_stats_of_a_queue_never_used(queue: Queue) -> None:
    [stats] = await queue.stats(["nowhere"])
    assert (stats.name, stats.demand, stats.oldest_age_seconds, stats.paused, stats.workers) == ("nowhere", 0, 0.0, False, 0)


async def test_oldest_age_is_that_of_a_ready_job(queue: Queue, worker: MakeWorker, until: Until) -> None:
    await submit(queue)

    async def aged() -> bool:
        return (await queue.stats(["default"]))[0].oldest_age_seconds > 0

    await until(aged, "the ready job to age")
    await worker().claim("default", 1)
    assert not await aged()


async def test_due_jobs_are_demand(queue: Queue, until: Until) -> None:
    await submit(queue, delay_ms=10)

    async def due() -> bool:
        [stats] = await queue.stats(["default"])
        return (stats.due, stats.demand) == (1, 1)

    await until(due, "a due job")


async def test_pause_shows(queue: Queue) -> None:
    await queue.pause("new")
    assert (await queue.stats(["new"]))[0].paused
    assert await queue.queues() == ["new"]
    await queue.resume("new")
    assert not (await queue.stats(["new"]))[0].paused


# ---------------------------------------------------------------------- list


async def collect(queue: Queue, wanted: LiveFilter, limit: int) -> list[tuple[str, State]]:
    found: list[tuple[str, State]] = []
    cursor: str | None = None
    for _ in range(1000):
        page, cursor = await queue.list_live(wanted, cursor, limit)
        assert len(page) <= limit
        found += [(view.id, view.state) for view in page]
        if cursor is None:
            return found
    raise AssertionError("the list does not end")


@pytest.fixture
async def zoo(queue: Queue, worker: MakeWorker, end: MakeEnd) -> dict[str, str]:
    """Jobs in every state, several priorities and two queues: id to state."""
    claims = worker("zookeeper")
    jobs = [NewJob("noop", b"{}", priority=priority) for priority in ("high", "normal", "low") for _ in range(6)]
    await queue.submit(jobs)
    found: dict[str, str] = {}
    for n, job in enumerate((await claims.claim("default", 18)).jobs):
        how = ("running", "retry", "hand_back", "succeeded")[n % 4]
        if how != "running":
            await claims.finish("default", [end(job, how, 60_000)])
        if how != "succeeded":
            found[job.id] = {"retry": "retrying", "hand_back": "queued"}.get(how, how)
    same_time = 4_000_000_000_000
    later = [NewJob("other", b"{}", run_at_ms=same_time) for _ in range(7)]
    found |= {done.id: "scheduled" for done in await queue.submit(later)}
    found |= {done.id: "queued" for done in await queue.submit([NewJob("noop", b"{}", priority="low") for _ in range(5)])}
    found |= {done.id: "queued" for done in await queue.submit([NewJob("noop", b"{}", queue="zz") for _ in range(3)])}
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_list_is_complete_and_without_duplicates(queue: Queue, zoo: dict[str, str], limit: int) -> None:
    found = await collect(queue, LiveFilter(), limit)
    assert sorted(found) == sorted((job_id, State(state)) for job_id, state in zoo.items())


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("limit", [2, 100])
async def test_list_of_one_state(queue: Queue, zoo: dict[str, str], state: str, limit: int) -> None:
    found = await collect(queue, LiveFilter(states=frozenset({State(state)})), limit)
    assert sorted(job_id for job_id, _ in found) == sorted(job_id for job_id, there in zoo.items() if there == state)


async def test_list_of_finished_states_is_empty(queue: Queue, zoo: dict[str, str]) -> None:
    assert await collect(queue, LiveFilter(states=frozenset({State.SUCCEEDED})), 10) == []


async def test_list_by_queue_and_type(queue: Queue, zoo: dict[str, str]) -> None:
    assert len(await collect(queue, LiveFilter(queue="zz"), 2)) == 3
    assert len(await collect(queue, LiveFilter(type="other"), 2)) == 7
    assert await collect(queue, LiveFilter(queue="zz", type="other"), 2) == []


async def test_list_by_time(queue: Queue, zoo: dict[str, str]) -> None:
    times = sorted(view.submitted for view in (await queue.list_live(LiveFilter(), None, 100))[0])
    middle = times[len(times) // 2]
    later = await collect(queue, LiveFilter(since_ms=middle), 4)
    earlier = await collect(queue, LiveFilter(until_ms=middle), 4)
    assert sorted([*earlier, *later]) == sorted((job_id, State(state)) for job_id, state in zoo.items())
    assert len(later) == sum(time >= middle for time in times)


async def test_list_goes_on_where_a_cancelled_job_was(queue: Queue) -> None:
    done = await queue.submit([NewJob("noop", b"{}", delay_ms=60_000 + n) for n in range(6)])
    page, cursor = await queue.list_live(LiveFilter(), None, 3)
    for view in page:
        await queue.cancel(view.id)
    rest, _ = await queue.list_live(LiveFilter(), cursor, 10)
    assert {view.id for view in page} | {view.id for view in rest} == {d.id for d in done}


async def test_list_does_not_repeat_when_later_jobs_come(queue: Queue) -> None:
    await queue.submit([NewJob("noop", b"{}", delay_ms=60_000 + n) for n in range(6)])
    page, cursor = await queue.list_live(LiveFilter(), None, 3)
    await queue.submit([NewJob("noop", b"{}", delay_ms=90_000) for _ in range(2)])
    rest, _ = await queue.list_live(LiveFilter(), cursor, 10)
    assert len(rest) == 3
    assert not {view.id for view in page} & {view.id for view in rest}


@pytest.mark.parametrize("cursor", ["x", "!!!!", "YXxifGM", "ZGVmYXVsdHxufDs", "Ly8v", "ZGVmYXVsdHxufGFiYw", "é"])
async def test_list_refuses_a_made_up_cursor(queue: Queue, cursor: str) -> None:
    await submit(queue)
    with pytest.raises(InvalidCursor):
        await queue.list_live(LiveFilter(), cursor, 10)
