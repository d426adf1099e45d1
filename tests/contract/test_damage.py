"""What somebody breaks in Redis by hand costs at most the broken job: everything else goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from dtq.errors import IllegalTransition, QueueDamaged
from dtq.ids import is_id
from dtq.job import NewJob, State, TerminalJob
from dtq.queue import FireTick, LiveFilter, Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish, read_box

MakeWorker = Callable[..., Claims]
MakeEnd = Callable[..., Finish]
Until = Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]

BAD_ENTRIES: dict[str, dict[bytes, bytes]] = {
    "foreign fields": {b"hello": b"world"},
    "no payload": {b"t": b"noop"},
    "type not UTF-8": {b"t": b"\xff\xfe", b"p": b"{}"},
    "payload not JSON": {b"t": b"noop", b"p": b"{broken"},
    "payload not UTF-8": {b"t": b"noop", b"p": b'"\xff"'},
    "payload empty": {b"t": b"noop", b"p": b""},
    "payload JSON only to Lua": {b"t": b"noop", b"p": b"[nan,0x10]"},
    "options not JSON": {b"t": b"noop", b"p": b"{}", b"o": b"{"},
    "options of odd types": {b"t": b"noop", b"p": b"{}", b"o": b'{"timeout":"x","max_retries":{},"schedule":[1]}'},
    "options not an object": {b"t": b"noop", b"p": b"{}", b"o": b"[1]"},
    "record missing": {b"i": b"0197000000000001d-default"},
    "id not an id": {b"i": b"nonsense"},
    "id not UTF-8": {b"i": b"\xff"},
}

BAD_RECORDS: dict[str, dict[bytes, bytes]] = {
    "counters": {b"n": b"x", b"c": b"y", b"rp": b"z"},
    "submit time": {b"sub": b"yesterday"},
    "due": {b"due": b"soon"},
    "history": {b"a": b"{broken"},
    "history not UTF-8": {b"a": b'"\xff"'},
    "type": {b"t": b"\xff"},
    "lane": {b"lane": b"zzz"},
    "options": {b"o": b"\xff{"},
    "payload": {b"p": b"\xff{"},
    "state": {b"st": b"confused"},
}

entries = pytest.mark.parametrize("what", BAD_ENTRIES)
records = pytest.mark.parametrize("what", BAD_RECORDS)


@pytest.fixture
def queue(raw_queue: Queue) -> Queue:
    return raw_queue


async def damage(queue: Queue, what: str) -> str:
    """A sound job, a damaged entry, and a sound job again; returns the damaged entry's id."""
    await queue.submit([NewJob("noop", b"1")])
    entry: bytes = await queue.client.xadd(keys.lane("default", "n"), dict(BAD_ENTRIES[what]))
    await queue.submit([NewJob("noop", b"2")])
    return entry.decode()


async def recorded(queue: Queue, what: str, worker: MakeWorker, end: MakeEnd) -> str:
    """A job that waits for its retry, with a damaged record."""
    await queue.submit([NewJob("noop", b"1")])
    claims = worker("before")
    [job] = (await claims.claim("default", 1)).jobs
    await claims.finish("default", [end(job, "retry", 0)])
    await queue.client.hset(keys.record("default", job.id), mapping=dict(BAD_RECORDS[what]))
    return job.id


async def take(claims: Claims) -> list[ClaimedJob]:
    return (await claims.claim("default", 10)).jobs


async def rows(queue: Queue) -> list[TerminalJob]:
    """Every row of the outbox; each entry must be readable."""
    found = []
    for entry, rows in await queue.read_outbox("default"):
        assert rows, f"outbox entry {entry} cannot be read"
        found += rows
    for row in found:
        msgspec.json.decode(msgspec.json.encode(row))
    return found


async def see(queue: Queue) -> list[str]:
    """Look at everything there is to see."""
    page, _ = await queue.list_live(LiveFilter(), None, 100)
    for view in page:
        msgspec.json.decode(view.payload)
        assert await queue.get(view.id) is not None
    await queue.stats(["default"])
    return [view.id for view in page]


@entries
async def test_damaged_entry_can_be_looked_at(queue: Queue, what: str) -> None:
    await damage(queue, what)
    assert len(await see(queue)) >= 2


@entries
async def test_damaged_entry_can_be_claimed_and_ended(queue: Queue, worker: MakeWorker, end: MakeEnd, what: str) -> None:
    await damage(queue, what)
    claims = worker()
    jobs = await take(claims)
    assert len(jobs) == 3
    ends = []
    for job in jobs:
        try:
            msgspec.json.decode(job.payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            job.payload = b"null"  # a worker does not report what is not JSON
        ends.append(end(job, "failed" if job.defect else "succeeded"))
    done = await claims.finish("default", ends)
    assert done.stale == set()
    assert len(await rows(queue)) == 3
    assert await see(queue) == []


@entries
async def test_damaged_entry_of_a_dead_worker_is_taken(queue: Queue, worker: MakeWorker, what: str) -> None:
    await damage(queue, what)
    for name in ("a", "b", "c"):
        assert len(await take(worker(name, -1))) == 3
        await queue.reclaim("default")
        await see(queue)
    found = await rows(queue)
    assert [row.state for row in found] == [State.FAILED] * 3
    assert await see(queue) == []


@entries
async def test_damaged_entry_can_be_cancelled(queue: Queue, what: str) -> None:
    await damage(queue, what)
    for job_id in await see(queue):
        assert await queue.cancel(job_id) is State.CANCELLED
    assert len(await rows(queue)) >= 2
    assert await see(queue) == []


@entries
async def test_damaged_entry_can_be_handed_back(queue: Queue, worker: MakeWorker, end: MakeEnd, what: str) -> None:
    await damage(queue, what)
    claims = worker()
    await claims.finish("default", [end(job, "hand_back") for job in await take(claims)])
    assert len(await take(claims)) == 3


@records
async def test_damaged_record_can_be_looked_at_and_cancelled(queue: Queue, worker: MakeWorker, end: MakeEnd, what: str) -> None:
    job_id = await recorded(queue, what, worker, end)
    assert await see(queue) == [job_id]
    assert await queue.cancel(job_id) is State.CANCELLED
    assert [row.id for row in await rows(queue)] == [job_id]


@records
async def test_damaged_record_can_be_claimed_and_ended(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until, what: str) -> None:
    job_id = await recorded(queue, what, worker, end)
    claims = worker()
    [job] = await until(lambda: take(claims), "the retry")
    assert job.id == job_id
    job.payload = b"null"
    await claims.finish("default", [end(job, "failed")])
    assert [row.id for row in await rows(queue)] == [job_id]
    assert not await queue.client.exists(keys.record("default", job_id))


@records
async def test_damaged_record_can_be_retried(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until, what: str) -> None:
    await recorded(queue, what, worker, end)
    claims = worker()
    [job] = await until(lambda: take(claims), "the retry")
    await claims.finish("default", [end(job, "retry", 0)])
    assert len(await until(lambda: take(claims), "the second retry")) == 1


@records
async def test_damaged_record_of_a_dead_worker_is_taken(queue: Queue, worker: MakeWorker, end: MakeEnd, until: Until, what: str) -> None:
    job_id = await recorded(queue, what, worker, end)
    for name in ("a", "b", "c"):
        claims = worker(name, -1)
        await until(lambda claims=claims: take(claims), "the job")  # type: ignore[misc]
        await queue.reclaim("default")
        await see(queue)
    assert [(row.id, row.state) for row in await rows(queue)] == [(job_id, State.FAILED)]
    assert await see(queue) == []


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"{}", b'{"id":"x"}', b"[]"])
async def test_damaged_result_counts_as_forgotten(queue: Queue, text: bytes) -> None:
    fired = await queue.fire(FireTick("u", "s", 1_760_000_040_000, "Replace", NewJob("noop", b"{}")))
    job_id = str(fired.id)
    await queue.cancel(job_id)
    await queue.client.hset(keys.done("default", job_id), job_id, text)
    assert await queue.get(job_id) is None
    assert await queue.get_many([job_id]) == [None]
    assert await queue.cancel(job_id) is None
    assert await queue.replay(job_id) is None
    [run] = await queue.runs("default", "u")
    assert run.state == "gone"
    assert (await queue.fire(FireTick("u", "s", 1_760_000_100_000, "Replace", NewJob("noop", b"{}")))).outcome == "started"


async def test_results_can_be_kept_where_somebody_wrote_over_their_key(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    [done] = await queue.submit([NewJob("noop", b"{}")])
    claims = worker()
    [job] = (await claims.claim("default", 1)).jobs
    await queue.client.set(keys.done("default", done.id), "oops")
    view = await queue.get(done.id)
    assert view is not None
    assert view.state == "running"
    await claims.finish("default", [end(job, "succeeded")])
    view = await queue.get(done.id)
    assert view is not None
    assert view.state == "succeeded"


async def test_damaged_result_is_replaced_by_the_row(queue: Queue) -> None:
    [done] = await queue.submit([NewJob("noop", b"{}")])
    await queue.cancel(done.id)
    [row] = await rows(queue)
    await queue.client.hset(keys.done("default", done.id), done.id, b"\xff")
    assert await queue.replay(done.id, row) is not None
    with pytest.raises(IllegalTransition):
        await queue.replay(done.id, row)


async def test_delayed_ids_without_a_record_are_dropped(queue: Queue, worker: MakeWorker) -> None:
    await queue.client.zadd(keys.delayed("default"), {"0197000000000001d-default": 1, b"\xff|": 2, "nonsense": 4e12})
    await queue.submit([NewJob("noop", b"1", delay_ms=60_000), NewJob("noop", b"2")])
    assert len(await see(queue)) == 2
    page, cursor = await queue.list_live(LiveFilter(), None, 1)
    rest, _ = await queue.list_live(LiveFilter(), cursor, 10)
    assert len(page) + len(rest) == 2
    assert [job.payload for job in await take(worker())] == [b"2"]
    assert (await queue.stats(["default"]))[0].due == 0


async def test_entry_that_vanished_is_let_go(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    await queue.submit([NewJob("noop", b"1"), NewJob("noop", b"2")])
    claims = worker("w", -1)
    jobs = await take(claims)
    await queue.client.xdel(keys.lane("default", "n"), jobs[0].entry)
    await see(queue)
    assert (await queue.reclaim("default")).requeued == 1
    assert (await queue.stats(["default"]))[0].ready == 1


async def test_foreign_outbox_entry_comes_empty(queue: Queue) -> None:
    for fields in ({b"x": b"y"}, {b"r": b"{"}, {b"r": b"\xff"}, {b"r": b"[1]"}):
        await queue.client.xadd(keys.outbox("default"), dict(fields))
    found = await queue.read_outbox("default")
    assert [rows for _, rows in found] == [[], [], [], []]
    await queue.clear_outbox("default", [entry for entry, _ in found])
    assert await queue.outbox_length(["default"]) == 0


async def test_lost_groups_are_made_again(queue: Queue, worker: MakeWorker) -> None:
    await queue.submit([NewJob("noop", b"1")])
    await take(worker("a"))
    await queue.client.xgroup_destroy(keys.lane("default", "n"), keys.GROUP)
    await see(queue)
    await queue.reclaim("default", audit=True)
    assert [job.payload for job in await take(worker("b"))] == [b"1"]


async def test_a_damaged_mark_of_cancelling_keeps_no_lease_from_being_renewed(queue: Queue, worker: MakeWorker) -> None:
    """A worker that could not read the renewal's answer would renew no queue's lease any more."""
    await queue.submit([NewJob("noop", b"1")])
    claims = worker("w")
    await take(claims)
    await queue.client.hset(keys.cancels("default"), mapping={b"\xff": b"1", b"nonsense": b"\xff", b"": b""})
    assert (await claims.renew("default")).held


async def test_names_that_no_queue_can_have_are_passed_over(queue: Queue) -> None:
    await queue.submit([NewJob("noop", b"1")])
    await queue.client.sadd(keys.QUEUES, b"\xff", b"", b"a b", b"}{", b"*", b"x" * 500)
    assert await queue.queues() == ["default"]


@entries
async def test_what_somebody_put_into_the_stream_of_redelivered_jobs_ends_under_an_id(
    queue: Queue, worker: MakeWorker, end: MakeEnd, what: str
) -> None:
    """A row with something else for an id would break every list of jobs for as long as it is kept."""
    for fields in (BAD_ENTRIES[what], {b"t": b"noop", b"p": b"{}"}, {b"t": b"noop", b"p": b"{}", b"o": b"{}"}):
        await queue.client.xadd(keys.lane("default", "f"), dict(fields))
    await queue.submit([NewJob("noop", b"1")])
    claims = worker()
    jobs = await take(claims)
    assert [is_id(job.id) for job in jobs] == [True] * 4
    await claims.finish("default", [end(job, "hand_back") for job in jobs[:3]])
    for name in ("a", "b", "c"):
        await take(worker(name, -1))
        await queue.reclaim("default")
    found = await rows(queue)
    assert [is_id(row.id) for row in found] == [True] * len(found)
    assert len(found) >= 2


async def test_what_is_no_id_is_no_job(queue: Queue) -> None:
    [made] = await queue.submit([NewJob("noop", b"1")])
    found = await queue.get_many(["nonsense", made.id, ""])
    assert [view and view.id for view in found] == [None, made.id, None]
    assert await queue.get_many(["nonsense"]) == [None]


@entries
async def test_a_damaged_job_comes_by_a_box_as_by_a_claim(queue: Queue, worker: MakeWorker, end: MakeEnd, what: str) -> None:
    """One that could not be read would be given back, and left in a box again, for ever."""
    await queue.client.xadd(keys.lane("default", "n"), dict(BAD_ENTRIES[what]))
    first, second = worker("first"), worker("second")
    [job] = await take(first)
    assert (await second.claim("default", 1, wait=True)).jobs == []
    await first.finish("default", [end(job, "hand_back")])
    [content] = await second.retract("default")
    boxed = read_box("default", content)
    assert boxed is not None
    await second.finish("default", [end(boxed, "hand_back")])
    [claimed] = await take(first)
    assert (boxed.id, boxed.type, boxed.payload, boxed.defect) == (claimed.id, claimed.type, claimed.payload, claimed.defect)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[]", b'["z","1-1",[]]', b'["n","x",[]]', b'["n","1-1",["\\ud800"]]', b'"\xff"', b'["n",1]']
)
async def test_what_is_no_job_in_a_box_is_told_as_such(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_box("default", content)


@pytest.mark.parametrize("until_ms", [4e12, float("inf")])
async def test_a_worker_that_somebody_made_up_keeps_no_job_for_good(queue: Queue, worker: MakeWorker, until_ms: float) -> None:
    """Idle, under a lease that ends in a lifetime: the next job is claimed for it, and nobody would ever run it."""
    prefix = keys.prefix("default")
    live = worker("live")
    await live.claim("default", 1, wait=True)
    await queue.client.zadd(f"{prefix}:workers", {"made-up": until_ms})
    await queue.client.zadd(keys.idle("default"), {"made-up": 0.0})
    await queue.submit([NewJob("noop", b"1")])
    assert (await queue.stats(["default"]))[0].running == 1
    await queue.reclaim("default", audit=True)
    seconds, _ = await queue.client.time()
    lease = await queue.client.zscore(f"{prefix}:workers", "made-up")
    assert lease <= (seconds + 11) * 1000
    assert (await live.renew("default")).held
    await queue.client.zadd(f"{prefix}:workers", {"made-up": 1.0})  # the ten seconds are over
    assert (await queue.reclaim("default")).requeued == 1
    assert await live.retract("default") != []


# ---------------------------------------------------------------------- keys of another type


async def write_over(queue: Queue, key: str) -> None:
    """Put something of another type there."""
    await queue.client.delete(key)
    await queue.client.set(key, "oops")


@pytest.mark.parametrize("key", [keys.lane("bad", "n"), keys.delayed("bad")])
async def test_what_is_asked_of_a_damaged_queue_says_that_it_is(queue: Queue, worker: MakeWorker, key: str) -> None:
    await write_over(queue, key)
    claims = worker()
    late = NewJob("noop", b"1", "bad", delay_ms=60_000)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: queue.submit([late if key == keys.delayed("bad") else NewJob("noop", b"1", "bad")]),
        lambda: queue.stats(["bad"]),
        lambda: queue.list_live(LiveFilter(queue="bad"), None, 10),
        lambda: claims.claim("bad", 1),
    ]
    for call in calls:
        with pytest.raises(QueueDamaged, match=r"'bad' in Redis is not as DTQ wrote it .WRONGTYPE.*; repair or delete the key") as caught:
            await call()
        assert caught.value.queue == "bad"
    await queue.client.delete(key)
    assert (await queue.list_live(LiveFilter(queue="bad"), None, 10))[0] == []
    assert [key async for key in queue.client.scan_iter("dtq:{bad}:job:*")] == [], "a record is left of a job that was refused"
    for call in calls:
        await call()


async def test_lists_over_all_queues_leave_out_what_is_damaged(queue: Queue) -> None:
    made = [(await queue.submit([NewJob("noop", b"1", name)]))[0].id for name in ("a", "bad", "z")]
    [ended] = await queue.submit([NewJob("noop", b"1", "z")])
    await queue.cancel(ended.id)
    await write_over(queue, keys.lane("bad", "n"))
    for key in (keys.outbox("bad"), keys.done("bad", made[1])):
        await write_over(queue, key)
    names = await queue.queues()
    assert [stats.name for stats in await queue.stats(names, damaged=False)] == ["a", "z"]
    page, _ = await queue.list_live(LiveFilter(), None, 100)
    assert [view.id for view in page] == [made[0], made[2]]
    assert [view and view.id for view in await queue.get_many(made)] == [made[0], None, made[2]]
    assert await queue.finished([made[1], ended.id, made[0]]) == {ended.id}
    assert await queue.outbox_length(names) == 1


async def test_the_jobs_of_a_damaged_queue_that_can_be_read_are_shown(queue: Queue) -> None:
    [high] = await queue.submit([NewJob("noop", b"1", priority="high")])
    await write_over(queue, keys.lane("default", "n"))
    page, _ = await queue.list_live(LiveFilter(), None, 100)
    assert [view.id for view in page] == [high.id]


async def test_a_batch_over_several_queues_is_refused_as_a_whole(queue: Queue) -> None:
    jobs = [NewJob("noop", b"1", "good"), NewJob("noop", b"2", "good", priority="high"), NewJob("noop", b"3", "bad")]
    jobs.append(NewJob("noop", b"4", "bad", delay_ms=1000))
    for key in (keys.lane("bad", "n"), keys.delayed("bad")):
        await write_over(queue, key)
        with pytest.raises(QueueDamaged, match="'bad'"):
            await queue.submit(jobs)
        await queue.client.delete(key)
        [stats] = await queue.stats(["good"])
        assert stats.ready == 0
    assert len(await queue.submit(jobs)) == 4


async def test_a_batch_in_one_queue_is_refused_as_a_whole(queue: Queue) -> None:
    await write_over(queue, keys.lane("default", "l"))
    with pytest.raises(QueueDamaged):
        await queue.submit([NewJob("noop", b"1"), NewJob("noop", b"2", priority="low")])
    await queue.client.delete(keys.lane("default", "l"))
    assert (await queue.stats(["default"]))[0].ready == 0


@pytest.mark.parametrize("name", ["outbox", "dead", "wake", "idle", "workers"])
async def test_what_holds_no_job_is_made_anew_where_somebody_wrote_over_it(
    queue: Queue, worker: MakeWorker, end: MakeEnd, name: str
) -> None:
    await queue.submit([NewJob("noop", b"1"), NewJob("noop", b"2")])
    await write_over(queue, f"{keys.prefix('default')}:{name}")
    claims = worker()
    jobs = (await claims.claim("default", 10, wait=True)).jobs
    assert len(jobs) == 2
    assert (await claims.renew("default")).held
    await claims.finish("default", [end(jobs[0], "failed"), end(jobs[1], "succeeded")])
    assert len(await rows(queue)) == 2
    await queue.submit([NewJob("noop", b"3")])
    await claims.retract("default")
    await claims.leave("default")
    await queue.reclaim("default", audit=True)
    [stats] = await queue.stats(["default"])
    assert stats.running + stats.ready == 1


async def test_a_record_that_somebody_wrote_over_ends_as_damaged(queue: Queue, worker: MakeWorker, end: MakeEnd) -> None:
    made = await queue.submit([NewJob("noop", b"1", delay_ms=1), NewJob("noop", b"2", delay_ms=60_000)])
    claims = worker()
    await queue.client.zadd(keys.delayed("default"), {job.id: 1 for job in made})
    await write_over(queue, keys.record("default", made[0].id))
    await see(queue)
    await queue.promote("default")
    await write_over(queue, keys.record("default", made[1].id))
    await see(queue)
    jobs = await take(claims)
    assert [(job.id, bool(job.defect)) for job in jobs] == [(job.id, True) for job in made]
    await claims.finish("default", [end(jobs[0], "failed"), end(jobs[1], "hand_back")])
    [again] = await take(claims)
    await claims.finish("default", [end(again, "failed")])
    assert {row.id for row in await rows(queue)} == {job.id for job in made}
    assert await see(queue) == []


async def test_idempotency_keys_that_somebody_wrote_over_bind_nothing(queue: Queue) -> None:
    """Neither the one that ties a key to its queue, nor the one in the queue: no other job of a batch is held up."""
    await queue.client.rpush(keys.idempotency("k1"), "oops")
    await queue.client.rpush(f"{keys.prefix('default')}:idem:k2", "oops")
    jobs = [NewJob("noop", b"1", idempotency_key=key, digest="d") for key in ("k1", "k2", "k3")]
    first = await queue.submit(jobs)
    assert [one.created for one in first] == [True] * 3
    second = await queue.submit(jobs)
    assert [(one.id, one.created) for one in second] == [(one.id, False) for one in first]


async def test_a_counter_that_somebody_wrote_over_starts_anew(queue: Queue) -> None:
    for odd in ("oops", ""):
        await queue.client.set(f"{keys.prefix('default')}:seq", odd)
        [done] = await queue.submit([NewJob("noop", b"1", delay_ms=60_000)])
        assert is_id(done.id)


async def test_names_of_queues_that_somebody_wrote_over_come_back(queue: Queue) -> None:
    await write_over(queue, keys.QUEUES)
    with pytest.raises(QueueDamaged, match="'dtq:queues'"):
        await queue.queues()
    await queue.submit([NewJob("noop", b"1")])
    assert await queue.queues() == ["default"]


async def test_damage_is_told_once_a_minute(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtq.queue.damage._told", {})
    await write_over(queue, keys.lane("bad", "n"))
    with capture_logs() as log:
        for _ in range(3):
            with pytest.raises(QueueDamaged):
                await queue.stats(["bad"])
    [event] = log
    assert (event["event"], event["queue"], event["log_level"], event["error"][:9]) == ("queue_damaged", "bad", "error", "WRONGTYPE")
