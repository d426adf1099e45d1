"""What a worker's death, a frozen worker, and servers that go away do to jobs: nothing. And how the process starts and ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from faultkit.proxy import Link
from worker_bench import Bench, alive, open_bench, until

from dtq.embedded import PostgresServer, ValkeyServer
from dtq.embedded.process import free_port
from dtq.job import NewJob
from dtq.queue import keys, scripts
from dtq.storage import Store
from dtq.storage.migrate import migrate

# ---------------------------------------------------------------- the process


@pytest.mark.parametrize(
    ("name", "value"), [("WORKERCOUNT", "0"), ("LEASESECONDS", "soon"), ("QUEUES", "A B"), ("HANDLERS", "no.such.module")]
)
def test_a_wrong_setting_stops_the_start_with_one_line(name: str, value: str) -> None:
    env = {**os.environ, name: value}
    done = subprocess.run([sys.executable, "-m", "dtq_worker"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert name in line
    assert value in line


def test_an_address_in_use_stops_the_start_with_one_line(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addr = f"127.0.0.1:{taken.getsockname()[1]}"
        env = {**os.environ, "METRICSADDR": addr, "REDISADDR": redis_url}
        done = subprocess.run([sys.executable, "-m", "dtq_worker"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"dtq-worker: METRICSADDR='{addr}': ")


async def test_sigterm_ends_the_process_and_hands_its_jobs_back(bench: Bench) -> None:
    process = await bench.process(shutdownseconds=0.5)
    mark = bench.mark()
    ids = [await bench.submit(name, {"seconds": 60, "mark": mark}, timeout=100.0) for name in ("sleep", "spin")]
    await until("both handlers run", lambda: len(mark.lines) == 2)
    process.signal(signal.SIGTERM)
    assert await process.exited(30) == 0
    for job_id in ids:
        job = await bench.view(job_id)
        assert (job.state, job.attempts) == ("queued", ())
    await until("no handler process is left", lambda: not any(alive(pid) for pid in mark.pids))


async def test_a_handler_that_ignores_every_cancellation_does_not_keep_the_process(bench: Bench) -> None:
    process = await bench.process(shutdownseconds=0.1, leaseseconds=600.0)
    mark = bench.mark()
    job_id = await bench.submit("stubborn", {"times": 1000, "mark": mark}, timeout=100.0)
    await until("the handler runs", lambda: mark.lines)
    process.signal(signal.SIGTERM)
    assert await process.exited() == 0
    bench.reclaiming()
    await bench.is_in(job_id, "queued")  # at once, long before its lease would have run out


# ---------------------------------------------------------------- death


async def test_jobs_of_a_killed_worker_run_elsewhere(bench: Bench) -> None:
    process = await bench.process(leaseseconds=2.0)
    mark = bench.mark()
    ids = [await bench.submit(name, {"seconds": 60, "mark": mark}, timeout=100.0) for name in ("sleep", "spin")]
    await until("both handlers run", lambda: len(mark.lines) == 2)
    process.signal(signal.SIGKILL)
    bench.reclaiming()
    await bench.worker()
    await until("both run again", lambda: len(mark.lines) == 4, 40)
    for job_id in ids:
        job = await bench.view(job_id)
        assert [attempt.outcome for attempt in job.attempts] == ["lost", "running"]
        await bench.queue.cancel(job_id)
        await bench.ended(job_id)


async def test_handler_processes_do_not_outlive_their_worker(bench: Bench) -> None:
    """Nobody would end an endless loop any more."""
    process = await bench.process()
    mark = bench.mark()
    await bench.submit("spin", {"seconds": 300, "mark": mark}, timeout=600.0)
    await until("the handler runs", lambda: mark.lines)
    process.signal(signal.SIGKILL)
    await process.exited()
    await until("the handler's process is gone", lambda: not alive(mark.pids[0]))


async def test_a_job_that_kills_its_worker_three_times_has_failed(bench: Bench) -> None:
    mark = bench.mark()
    job_id = await bench.submit("kills_worker", {"mark": mark})
    fine = await bench.submit("raises", {"times": 1}, delay_ms=100_000)
    for _ in range(3):
        assert await bench.start_process().exited() == 3
        await bench.lose_leases()
    job = await bench.ended(job_id)
    assert (job.state, len(mark.lines)) == ("failed", 3)
    assert job.error is not None
    assert job.error.kind == "worker_lost"
    assert [attempt.outcome for attempt in job.attempts] == ["lost"] * 3
    assert (await bench.view(fine)).state == "scheduled"


async def test_a_frozen_workers_late_result_changes_nothing(bench: Bench) -> None:
    process = await bench.process()
    mark, gate = bench.mark(), bench.gate()
    job_id = await bench.submit("held", {"gate": gate, "mark": mark})
    await until("the handler runs", lambda: mark.lines)
    process.signal(signal.SIGSTOP)
    await bench.lose_leases()
    assert (await bench.view(job_id)).state == "queued"
    worker = await bench.worker()
    gate.open()
    job = await bench.ended(job_id)
    row = await bench.row(job_id)
    assert [attempt.outcome for attempt in job.attempts] == ["lost", "succeeded"]
    assert job.attempts[1].worker == worker.name
    process.signal(signal.SIGCONT)
    await until("the frozen worker learns of it", lambda: "stale_attempt" in process.log.read_text() or "lost" in process.log.read_text())
    assert await bench.view(job_id) == job
    assert await bench.store.get(job_id) == row
    assert len(mark.lines) == 2
    await bench.stop(worker)
    again = await bench.run("echo")  # the thawed worker goes on
    assert (again.state, len(again.attempts)) == ("succeeded", 1)


async def test_a_handler_that_holds_the_interpreter_for_most_of_a_lease_keeps_it(bench: Bench) -> None:
    process = await bench.process(leaseseconds=10.0)
    bench.reclaiming()
    blocked = await bench.submit("blocks", {"seconds": 7.0})
    other = await bench.submit("sleep", {"seconds": 0.5})
    for job_id in (blocked, other):
        job = await bench.ended(job_id)
        assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("succeeded", ["succeeded"])
    assert process.popen.poll() is None


# ---------------------------------------------------------------- servers that go away


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A durable Valkey on a fixed port, to be stopped and started."""
    server = ValkeyServer(tmp_path / "valkey", free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_bench(own_valkey: ValkeyServer, pg_dsn: str, store: Store, tmp_path: Path, log_capture: None) -> AsyncIterator[Bench]:
    async with open_bench(own_valkey.url, pg_dsn, store, tmp_path) as found:
        yield found


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_redis_comes_back_and_everything_goes_on(own_bench: Bench, own_valkey: ValkeyServer, how: str) -> None:
    bench = own_bench
    worker, gate = await bench.worker(), bench.gate()
    running = [await bench.submit("held", {"gate": gate}) for _ in range(2)]
    await bench.is_in(running[1], "running")
    waiting = [await bench.submit("sleep", {"seconds": 0.1}) for _ in range(20)]
    delayed = await bench.submit("echo", delay_ms=500)
    await asyncio.to_thread(own_valkey.stop if how == "stop" else own_valkey.kill)
    gate.open()
    await until("the running jobs have ended", lambda: not {one.job.id for one in worker._executor.active.values()} & {*running})
    await asyncio.to_thread(own_valkey.start)
    for job_id in (*running, *waiting, delayed):
        job = await bench.ended(job_id)
        assert job.state == "succeeded"
        await bench.row(job_id)
    assert [attempt.outcome for attempt in (await bench.view(running[0])).attempts] == ["succeeded"]


@pytest.mark.parametrize("name", ["claim", "finish"])
@pytest.mark.parametrize("delay_ms", [0, 4000])
async def test_a_lost_answer_loses_no_job_and_repeats_none(
    bench: Bench, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, name: str, delay_ms: int
) -> None:
    """The connection breaks after the script ran: the worker does not know that the jobs are its own, or are over."""
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", (60.0, 60.0))
    link = Link(valkey_server.port)
    mark = bench.mark()
    order = msgspec.json.encode({"mark": str(mark)})
    try:
        await bench.worker(redisaddr=await link.open(), leaseseconds=30.0)
        await bench.run("echo")
        await bench.idle()
        sha = scripts.load(name).sha.encode()
        trap = None if delay_ms else link.trap(sha)
        jobs = await bench.queue.submit([NewJob("echo", order, delay_ms=delay_ms) for _ in range(3)])
        if delay_ms:
            await bench.idle()
            trap = link.trap(sha)
        for job_id in (job.id for job in jobs):
            job = await bench.ended(job_id)
            assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("succeeded", ["succeeded"])
        assert trap is not None
        assert trap.sprung == 1
        assert len(mark.lines) == 3
        [stats] = await bench.queue.stats(["default"])
        assert (stats.running, stats.ready) == (0, 0)
    finally:
        await bench.close()
        await link.close()


async def test_jobs_run_on_without_postgresql_and_their_rows_arrive_later(redis_url: str, tmp_path: Path, log_capture: None) -> None:
    folder = Path(tempfile.mkdtemp(prefix="dtq-pg-"))
    postgres = PostgresServer(folder, free_port(), settings={"fsync": "off"})
    await asyncio.to_thread(postgres.start)  # makes the password
    await asyncio.to_thread(postgres.stop)
    store = Store(postgres.url)
    await store.open()
    try:
        async with open_bench(redis_url, postgres.url, store, tmp_path) as bench:
            worker = await bench.worker()
            ids = [(await bench.run("echo")).id for _ in range(5)]
            await until("the failure shows", lambda: worker._recorder.failing)
            during = (await bench.run("echo")).id
            assert await bench.queue.client.pttl(keys.done("default", during)) > 3_600_000
            await asyncio.to_thread(postgres.start)
            await asyncio.to_thread(migrate, postgres.url)
            for job_id in (*ids, during):
                assert (await bench.row(job_id)).state == "succeeded"
            await until("it is over", lambda: not worker._recorder.failing)

            async def forgotten_as_others() -> bool:
                left = [await bench.queue.client.pttl(keys.done("default", job_id)) for job_id in (*ids, during)]
                return all(ms <= bench.settings.resultttl * 1000 for ms in left)

            await until("what is stored is kept no longer than usual", forgotten_as_others)
    finally:
        await store.close()
        await asyncio.to_thread(postgres.stop)
        shutil.rmtree(folder)
