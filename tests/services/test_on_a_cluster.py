"""Worker and queue on a Valkey cluster: what is different there is blocking reads, shared connections, and being away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from worker_bench import Bench, open_bench, until

from dtq.config import Settings
from dtq.embedded import ValkeyServer, free_port
from dtq.errors import QueueUnavailable
from dtq.queue import Queue, keys
from dtq.storage import Store


@pytest.fixture
async def cluster(cluster_nodes: list[ValkeyServer], pg_dsn: str, store: Store, tmp_path: Path, log_capture: None) -> AsyncIterator[Bench]:
    """A queue, a store, and workers, on a cluster."""
    for node in cluster_nodes:
        with redis.Redis.from_url(node.url) as client:
            client.flushall()
    async with open_bench(cluster_nodes[0].url, pg_dsn, store, tmp_path) as found:
        assert found.queue.cluster
        yield found


async def test_jobs_of_many_queues_run_and_are_stored(cluster: Bench) -> None:
    await cluster.worker(queues="*")
    ids = [await cluster.submit("echo", {"text": str(number)}, queue=f"q{number % 7}") for number in range(60)]
    jobs = [await cluster.ended(job_id) for job_id in ids]
    assert {(str(job.state), len(job.attempts)) for job in jobs} == {("succeeded", 1)}
    for job_id in ids:
        assert (await cluster.row(job_id)).state == "succeeded"


async def idle_in(cluster: Bench, name: str) -> None:
    await until(f"a worker is idle in {name}", lambda: cluster.queue.client.exists(keys.idle(name)))


async def test_an_idle_worker_is_handed_jobs(cluster: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    worker = await cluster.worker(queues="a,b,c")
    for number, name in enumerate(("b", "c", "a", "b")):
        await idle_in(cluster, name)
        gate = cluster.gate(f"gate-{number}")
        job = await cluster.view(await cluster.submit("held", {"gate": gate}, queue=name))
        assert (job.state, job.attempts[0].worker) == ("running", worker.name)
        gate.open()
        await cluster.ended(job.id)


async def test_delay_retry_and_cancel(cluster: Bench) -> None:
    await cluster.worker()
    delayed = await cluster.submit("echo", delay_ms=200)
    failing = await cluster.submit("raises", {"times": 9}, max_retries=1)
    long = await cluster.submit("sleep", {"seconds": 30}, timeout=60.0)
    await cluster.is_in(long, "running")
    await cluster.queue.cancel(long)
    assert [str((await cluster.ended(job_id)).state) for job_id in (delayed, failing, long)] == ["succeeded", "failed", "cancelled"]


async def test_a_worker_process_serves_and_leaves(cluster: Bench) -> None:
    process = await cluster.process()
    job = await cluster.run("sync_echo", {"text": "x"})
    assert job.state == "succeeded"
    process.popen.terminate()
    assert await process.exited() == 0
    assert (await cluster.queue.stats(["default"]))[0].workers == 0


async def test_a_cluster_that_was_away_at_the_start_calls_for_a_restart(tmp_path: Path) -> None:
    """Taken for a single server, it would refuse most keys for ever."""
    node = ValkeyServer(tmp_path / "valkey", port=free_port(), durable=False, cluster=True)
    queue = await Queue.connect(Settings(redisaddr=f"127.0.0.1:{node.port}"))
    try:
        with pytest.raises(QueueUnavailable):
            await queue.ping()
        assert queue.problem() is None  # away is no reason
        await asyncio.to_thread(node.start)
        with pytest.raises(QueueUnavailable, match="must be restarted"):
            await queue.ping()
        assert queue.problem() is not None
    finally:
        await queue.close()
        node.stop()
