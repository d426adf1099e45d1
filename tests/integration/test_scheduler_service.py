"""The scheduler as a process: start, probes, faults of its servers, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from dtq.config import Settings, load_settings
from dtq.embedded import ValkeyServer, free_port
from dtq.errors import Unavailable
from dtq.queue import Queue
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore
from dtq_scheduler.main import serve

NO_POSTGRES = "postgresql://127.0.0.1:1/none"


async def until(what: str, holds: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def scheduling(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop))
    async with httpx.AsyncClient(base_url=f"http://{settings.metricsaddr}", timeout=60) as client:

        async def up() -> bool:
            try:
                return (await client.get("/livez")).status_code == 200
            except httpx.ConnectError:
                return False

        await until("the probes answer", up)
        yield client
    stop.set()
    await asyncio.wait_for(task, 60)


async def jobs_in(queue: Queue) -> int:
    try:
        return (await queue.stats(["default"]))[0].ready
    except Unavailable:
        return 0


def settings(redis: str, database: str = NO_POSTGRES) -> Settings:
    return load_settings(redisaddr=redis, databaseurl=database, metricsaddr=f"127.0.0.1:{free_port()}")


async def put_due(queue: Queue, name: str) -> None:
    schedules = ScheduleStore(queue.client)
    spec = parse_spec({"schedule": "0 0 1 1 *", "jobTemplate": {"type": "email"}})
    await schedules.put(name, spec, created=await schedules.now() - 366 * 86_400_000)


async def test_ready_when_both_servers_are(redis_url: str, pg_dsn: str) -> None:
    async with scheduling(settings(redis_url, pg_dsn)) as client:

        async def ready() -> bool:  # a check that takes two seconds, as on a busy machine, is a failure
            return bool((await client.get("/readyz")).json() == {"status": "ready"})

        await until("it is ready", ready)
        assert "dtq_schedule_lag_seconds 0.0" in (await client.get("/metrics")).text


async def test_without_postgresql_it_is_not_ready_but_fires(redis_url: str) -> None:
    configured = settings(redis_url)
    queue = await Queue.connect(configured)
    async with scheduling(configured) as client:

        async def misses_postgresql_alone() -> bool:
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            return list(answer.json()["failures"]) == ["postgresql"]

        await until("only PostgreSQL is missing", misses_postgresql_alone)
        await put_due(queue, "n")

        async def fired() -> bool:
            return await jobs_in(queue) == 1

        await until("the tick is fired", fired)
    await queue.close()


async def test_it_goes_on_when_redis_is_back(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, free_port())
    server.start()
    configured = settings(server.url)
    queue = await Queue.connect(configured)
    await put_due(queue, "first")
    async with scheduling(configured) as client:

        async def fired() -> bool:
            return await jobs_in(queue) == 1

        await until("the first tick is fired", fired)
        await asyncio.to_thread(server.stop)
        assert "redis" in (await client.get("/readyz")).json()["failures"]
        await asyncio.to_thread(server.start)
        await put_due(queue, "second")

        async def both_fired() -> bool:
            return await jobs_in(queue) == 2

        await until("the second tick is fired", both_fired)
    await queue.close()
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_process_gracefully(redis_url: str, number: signal.Signals) -> None:
    addr = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "REDISADDR": redis_url, "DATABASEURL": NO_POSTGRES, "METRICSADDR": addr}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dtq_scheduler", env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"scheduler_started" in line:
            break
    process.send_signal(number)
    _, rest = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"scheduler_stopped" in rest


async def test_a_wrong_setting_stops_the_start_with_a_line() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dtq_scheduler", env={**os.environ, "METRICSADDR": "nowhere"}, stderr=subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert said.startswith(b"dtq-scheduler: METRICSADDR='nowhere': expected host:port")
    assert said.count(b"\n") == 1
