"""WAITREPLICAS: what is promised has been confirmed by replicas; without them nothing is, and what costs nothing waits for nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis
from failover.servers import SERVICE, Replicated, Shards, open_replicated, open_shards

from dtq.config import Settings
from dtq.embedded import ValkeyServer
from dtq.errors import IdempotencyConflict, QueueFull, QueueUnavailable
from dtq.job import Attempt, NewJob, State, TerminalJob
from dtq.queue import FireTick, Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish
from dtq.queue.replicas import settled
from dtq.queue.routing import routed
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore

PLAIN = NewJob("noop", b"1")
KEYED = NewJob("noop", b"1", idempotency_key="k", digest="d")
LATER = NewJob("noop", b"1", delay_ms=600_000)
SPEC = parse_spec({"schedule": "@hourly", "jobTemplate": {"type": "noop"}})


DEAD_MS = 600_000
"""Milliseconds of silence after which a server is taken for dead: here none dies, and none is replaced as the machine is busy."""


@pytest.fixture(scope="module")
def replicated() -> Iterator[Replicated]:
    with open_replicated(replicas=1) as servers:
        for sentinel in servers.sentinels:
            with redis.Redis.from_url(sentinel.url) as client:
                client.execute_command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", DEAD_MS)
        yield servers


@pytest.fixture(scope="module")
def shards() -> Iterator[Shards]:
    with open_shards() as servers:
        for node in servers.nodes:
            with redis.Redis(port=node.port) as client:
                client.config_set("cluster-node-timeout", DEAD_MS)
        yield servers


FUTILE_MS = 250
"""How long to wait for replicas that are frozen: for nothing."""

PATIENT_MS = 30_000
"""How long for replicas that run, on a machine busy with other tests; less than clients wait for any answer, see conftest.py."""


def _wait(monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    for module in ("replicas", "engine"):
        monkeypatch.setattr(f"dtq.queue.{module}.WAIT_MS", milliseconds)


class Place:
    """A queue with WAITREPLICAS=1 and one without, on the same servers, whose replicas can be frozen."""

    def __init__(self, url: str, primaries: list[ValkeyServer], freeze: Callable[[], Any]) -> None:
        self.url = url
        self.primaries = primaries
        self.frozen = freeze
        self.queue: Queue
        self.free: Queue

    async def open(self) -> None:
        self.queue = await Queue.connect(Settings(redisaddr=self.url, waitreplicas=1, maxqueuelength=50))
        self.free = await Queue.connect(Settings(redisaddr=self.url))
        await self.queue.pause("default")  # the queue's name is confirmed now, so that it is not what a test waits for
        await self.free.resume("default")

    def claims(self, name: str = "w1") -> Claims:
        return Claims(self.queue.client, name, 60_000, 60_000, 60_000)


@contextlib.contextmanager
def _frozen(groups: list[Any]) -> Iterator[None]:
    stopped = [(group, server) for group in groups for server in group.replicas()]
    for group, server in stopped:
        group.freeze(server)
    try:
        yield
    finally:
        for group, server in stopped:
            group.thaw(server)
        for group in groups:
            group.wait_synced(1)


@pytest.fixture(params=["replicated", "shards"])
async def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    _wait(monkeypatch, PATIENT_MS)
    servers = request.getfixturevalue(request.param)
    groups = servers.groups if isinstance(servers, Shards) else [servers]
    primaries = [group.primary for group in groups]
    for primary in primaries:
        with redis.Redis.from_url(primary.url) as client:
            client.flushall()

    @contextlib.contextmanager
    def frozen() -> Iterator[None]:
        with _frozen(groups):
            _wait(monkeypatch, FUTILE_MS)
            yield
        _wait(monkeypatch, PATIENT_MS)

    found = Place(servers.url, primaries, frozen)
    await found.open()
    yield found
    await found.queue.close()
    await found.free.close()


def ending(job: ClaimedJob, state: str = "succeeded") -> Finish:
    now = job.submitted + 5
    attempt = Attempt(job.attempt, "w1", now - 1, now, state)
    row = TerminalJob(
        id=job.id,
        queue=job.queue,
        type=job.type,
        state=State(state),
        submitted=job.submitted,
        finished=now,
        replays=0,
        payload=msgspec.Raw(job.payload),
        attempts=[attempt],
        priority=job.priority,
    )
    return Finish(job, "f" if state == "failed" else "k", msgspec.json.encode(row))


async def failed_job(place: Place) -> str:
    await place.free.submit([PLAIN])
    claims = Claims(place.free.client, "w0", 60_000, 60_000, 60_000)
    [job] = (await claims.claim("default", 1)).jobs
    await claims.finish("default", [ending(job, "failed")])
    await claims.close()
    return job.id


Act = Callable[[Place, Any], Awaitable[Any]]
PROMISES: dict[str, tuple[Act | None, Act]] = {
    "submit": (None, lambda place, _: place.queue.submit([PLAIN])),
    "submit with a key": (None, lambda place, _: place.queue.submit([KEYED])),
    "submit with a delay": (None, lambda place, _: place.queue.submit([LATER])),
    "submit to a new queue": (None, lambda place, _: place.queue.submit([NewJob("noop", b"1", queue="new")])),
    "cancel": (lambda place, _: place.free.submit([LATER]), lambda place, found: place.queue.cancel(found[0].id)),
    "replay": (lambda place, _: failed_job(place), lambda place, found: place.queue.replay(found)),
    "fire": (None, lambda place, _: place.queue.fire(FireTick("u", "n", 1_760_000_040_000, "Allow", PLAIN))),
    "pause": (None, lambda place, _: place.queue.pause("default")),
    "resume": (None, lambda place, _: place.queue.resume("default")),
    "put": (None, lambda place, _: ScheduleStore(place.queue.client).put("n", SPEC)),
    "delete": (
        lambda place, _: ScheduleStore(place.free.client).put("n", SPEC),
        lambda place, _: ScheduleStore(place.queue.client).delete("n"),
    ),
    "read the outbox": (lambda place, _: failed_job(place), lambda place, _: place.queue.read_outbox("default")),
}


@pytest.mark.parametrize("what", PROMISES)
async def test_a_promise_needs_a_replica(place: Place, what: str) -> None:
    before, act = PROMISES[what]
    found = None if before is None else await before(place, None)
    with place.frozen(), pytest.raises(QueueUnavailable, match="WAITREPLICAS"):
        await act(place, found)


@pytest.mark.parametrize("what", PROMISES)
async def test_with_its_replica_a_promise_is_given(place: Place, what: str) -> None:
    before, act = PROMISES[what]
    await act(place, None if before is None else await before(place, None))


async def test_what_is_only_done_again_does_not_wait(place: Place) -> None:
    claims = place.claims()
    await place.free.submit([PLAIN, LATER])
    with place.frozen():
        async with asyncio.timeout(60):
            claim = await claims.claim("default", 1)
            assert len(claim.jobs) == 1
            assert (await claims.renew("default")).held
            await place.queue.promote("default")
            await place.queue.reclaim("default")
            await place.queue.stats(["default"])
            await place.queue.get(claim.jobs[0].id)
    await claims.close()


async def test_the_repeat_of_a_submission_that_no_replica_has_is_no_promise(place: Place) -> None:
    """It writes nothing, and WAIT by itself would then agree: the job would be lost with the primary, its 200 sent."""
    with place.frozen():
        await place.free.submit([KEYED])
        for _ in range(2):
            with pytest.raises(QueueUnavailable, match="WAITREPLICAS"):
                await place.queue.submit([KEYED])
    [done] = await place.queue.submit([KEYED])
    assert not done.created
    assert (await place.queue.stats(["default"]))[0].ready == 1


async def test_wait_alone_speaks_only_of_its_own_connection(replicated: Replicated) -> None:
    """Why a write of our own goes before it. Should a server do better one day, the mark could go."""
    with redis.Redis.from_url(replicated.primary.url) as one, redis.Redis.from_url(replicated.primary.url) as two, _frozen([replicated]):
        one.set("x", "1")
        assert one.wait(1, 100) == 0
        assert two.get("x") == b"1"
        assert two.wait(1, 100) == 1


async def test_a_finish_that_was_not_confirmed_may_be_sent_again(place: Place) -> None:
    claims = place.claims()
    await place.free.submit([PLAIN])
    [job] = (await claims.claim("default", 1)).jobs
    with place.frozen():
        for _ in range(2):
            with pytest.raises(QueueUnavailable, match="WAITREPLICAS"):
                await claims.finish("default", [ending(job)])
    done = await claims.finish("default", [ending(job)])
    assert (done.repeated, done.stale) == ({0}, set())
    assert len(await place.queue.read_outbox("default")) == 1
    await claims.close()


async def test_claims_do_not_wait_with_a_finish(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = place.claims()
    await place.free.submit([PLAIN, PLAIN])
    [job] = (await claims.claim("default", 1)).jobs
    with place.frozen():
        _wait(monkeypatch, PATIENT_MS)
        finish = asyncio.create_task(claims.finish("default", [ending(job)]))
        await asyncio.sleep(0)
        assert len((await claims.claim("default", 1)).jobs) == 1
        assert not finish.done()
    assert (await finish).outbox is not None  # the replicas run again
    await claims.close()


async def test_a_refusal_is_told_as_ever(place: Place) -> None:
    """It promises nothing; and what was reserved for the job is released."""
    await place.free.submit([PLAIN] * 50)
    with place.frozen(), pytest.raises(QueueFull):
        await place.queue.submit([PLAIN])
    await place.free.submit([KEYED])
    with pytest.raises(IdempotencyConflict):
        await place.queue.submit([NewJob("noop", b"2", idempotency_key="k", digest="other")])


async def test_without_the_setting_nothing_is_waited_for(place: Place) -> None:
    def waits() -> int:
        count = 0
        for primary in place.primaries:
            with redis.Redis.from_url(primary.url, decode_responses=True) as client:
                count += client.info("commandstats").get("cmdstat_wait", {}).get("calls", 0)
        return count

    before = waits()
    await failed_job(place)
    with place.frozen():
        await place.free.submit([PLAIN, LATER])
    assert waits() == before
    await place.queue.submit([PLAIN])
    assert waits() > before


async def test_a_server_without_memory_confirms_what_it_takes(place: Place) -> None:
    """The mark is written although the server refuses commands that use memory, else workers could end nothing."""
    claims = place.claims()
    await place.free.submit([PLAIN])
    [job] = (await claims.claim("default", 1)).jobs
    for primary in place.primaries:
        with redis.Redis.from_url(primary.url) as client:
            client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable):
            await place.queue.submit([PLAIN])
        assert (await claims.finish("default", [ending(job)])).outbox is not None
    finally:
        for primary in place.primaries:
            with redis.Redis.from_url(primary.url) as client:
                client.config_set("maxmemory", 0)
        await claims.close()


async def test_marks_expire(place: Place) -> None:
    await place.queue.submit([PLAIN])
    await settled(place.queue.client, keys.QUEUES_SLOT, ("SADD", keys.QUEUES, "default"))
    for name in (keys.prefix("default"), keys.QUEUES_SLOT):
        assert 0 < await place.queue.client.pttl(f"{name}:mark") <= 60_000


async def test_a_script_reaches_a_slot_that_has_moved(shards: Shards) -> None:
    """The client learns it from the answer, and the write, the mark and WAIT all go to the new node."""
    queue = await Queue.connect(Settings(redisaddr=shards.url, waitreplicas=1))
    try:
        await queue.submit([PLAIN])
        cached = queue.client.nodes_manager.slots_cache
        slot = queue.client.keyslot(keys.prefix("default"))
        right = cached[slot]
        cached[slot] = next(nodes for nodes in cached.values() if nodes[0] != right[0])
        assert (await queue.submit([PLAIN]))[0].created
        assert queue.client.get_node_from_key(keys.prefix("default")).name == right[0].name
    finally:
        await queue.close()


async def test_a_script_whose_answer_was_lost_is_not_sent_again(shards: Shards) -> None:
    """A submission or a claim may have been executed; the client learns of the nodes anew, and the next call works."""
    queue = await Queue.connect(Settings(redisaddr=shards.url))
    sent = []

    async def lose(connection: Any, commands: Any) -> list[Any]:
        sent.append(commands)
        await connection.disconnect(nowait=True)
        raise redis.ConnectionError("the answer was lost")

    try:
        with pytest.raises(redis.ConnectionError):
            await routed(queue.client, "dtq:{default}", [("EVAL", "return 1", 1, "dtq:{default}")], lose)
        assert len(sent) == 1
        assert (await queue.submit([PLAIN]))[0].created
    finally:
        await queue.close()


async def test_a_connection_to_a_primary_that_became_a_replica_is_dropped(redis_url: str) -> None:
    """Its address may lead to the new primary by now; the old connection never does."""
    queue = await Queue.connect(Settings(redisaddr=redis_url), connections=1)
    try:
        await queue.submit([PLAIN])
        before = await queue.client.client_id()
        with redis.Redis.from_url(redis_url) as other:
            other.replicaof("127.0.0.1", 1)
            try:
                with pytest.raises(QueueUnavailable):
                    await queue.submit([PLAIN])
            finally:
                other.replicaof("NO", "ONE")
        assert await queue.client.client_id() != before
        assert (await queue.submit([PLAIN]))[0].created
    finally:
        await queue.close()


async def test_a_queue_whose_name_was_lost_is_registered_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody promotes, reclaims or stores what is in it, until the submitter is restarted."""
    monkeypatch.setattr("dtq.queue.engine.KNOWN_SECONDS", 0.0)
    queue = await Queue.connect(Settings(redisaddr=redis_url))
    try:
        await queue.submit([PLAIN])
        await queue.client.delete(keys.QUEUES)
        await queue.submit([PLAIN])
        assert await queue.queues() == ["default"]
    finally:
        await queue.close()
