"""What the worker's tests share: a queue, a store, workers in this process or in their own, and waiting for conditions."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec
import worker_jobs

from dtq.config import Settings
from dtq.errors import QueueUnavailable
from dtq.job import TERMINAL, JobView, NewJob, TerminalJob
from dtq.queue import Queue, keys
from dtq.registry import load_registry
from dtq.storage import Store
from dtq_worker.worker import Worker

T = TypeVar("T")
FAST: dict[str, Any] = {
    "retrybase": 0.02,
    "retrycap": 0.05,
    "shutdownseconds": 0.2,
    "workercount": 4,
    "processes": 1,
    "workertimeout": 60.0,
}
"""Settings under which tests are quick."""

LEASE = 60.0
"""Seconds: on a busy machine a test may stand still for some, and must not lose its lease unless it is about that."""


@overload
async def until(what: str, condition: Callable[[], Coroutine[Any, Any, T | None]], seconds: float = 30.0) -> T: ...
@overload
async def until(what: str, condition: Callable[[], T | None], seconds: float = 30.0) -> T: ...
async def until(what: str, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of ``condition()``; an AssertionError that names ``what`` when it does not come in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return b"State:\tZ" not in Path(f"/proc/{pid}/status").read_bytes() if Path("/proc/self").exists() else True
    except (ProcessLookupError, FileNotFoundError):  # it may end between the two
        return False


class Mark:
    """A file to which handlers write a line for each attempt that starts: "pid attempt ms text"."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    @property
    def texts(self) -> list[str]:
        return [line[3] for line in self.lines]

    @property
    def pids(self) -> list[int]:
        return [int(line[0]) for line in self.lines]


class Gate:
    """A file that handlers wait for: a job whose order names it runs until the test opens it, however long the test takes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> None:
        """Let the handlers end."""
        self.path.touch()


class Process:
    """`python -m dtq_worker` as a process of its own."""

    def __init__(self, settings: dict[str, Any], log: Path) -> None:
        env = {name: value for name, value in os.environ.items() if name.isupper()}
        env |= {name.upper(): str(value) for name, value in settings.items()}
        env |= {"HANDLERS": worker_jobs.MODULE, "PYTHONPATH": str(Path(__file__).parent)}
        self.log = log
        with log.open("ab") as file:
            self.popen = subprocess.Popen([sys.executable, "-m", "dtq_worker"], env=env, stdout=file, stderr=file, start_new_session=True)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    async def exited(self, seconds: float = 60.0) -> int:
        """The exit code."""
        await until(f"the worker ends; {self.log.read_text()[-2000:]}", lambda: self.popen.poll() is not None, seconds)
        assert self.popen.returncode is not None
        return self.popen.returncode

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


class Bench:
    """A queue, a store, and workers; all of them are ended after the test."""

    def __init__(self, queue: Queue, store: Store, settings: Settings, folder: Path) -> None:
        self.queue = queue
        self.store = store
        self.settings = settings
        self.folder = folder
        self.registry = load_registry([worker_jobs.MODULE], entry_points=False)
        self._workers: list[Worker] = []
        self._processes: list[Process] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._queues: list[Queue] = []

    # ------------------------------------------------------------ workers

    async def worker(self, **changes: Any) -> Worker:
        """A started worker in this process and loop."""
        settings = self.settings.model_copy(update=changes)
        queue = self.queue
        if settings.redisaddr != self.settings.redisaddr:
            queue = await Queue.connect(settings)
            self._queues.append(queue)
        queue = Queue(queue.client, settings, cluster=queue.cluster)
        worker = Worker(settings, self.registry, [worker_jobs.MODULE], queue, self.store)
        worker.start()
        self._workers.append(worker)
        return worker

    async def stop(self, worker: Worker) -> float:
        """Stop a worker; the seconds it took."""
        self._workers.remove(worker)
        began = time.monotonic()
        await worker.stop()
        return time.monotonic() - began

    def start_process(self, **changes: Any) -> Process:
        """A worker process, with the test's settings and ``changes``."""
        base = {
            **FAST,
            "redisaddr": self.settings.redisaddr,
            "databaseurl": self.settings.databaseurl,
            "metricsaddr": "127.0.0.1:0",
            "leaseseconds": LEASE,
        }
        process = Process({**base, "queues": "default", **changes}, self.folder / f"worker-{len(self._processes)}.log")
        self._processes.append(process)
        return process

    async def process(self, **changes: Any) -> Process:
        """A worker process that serves (it has a lease)."""

        async def workers() -> int:
            return (await self.queue.stats(["default"]))[0].workers

        before = await workers()
        process = self.start_process(**changes)

        async def serving() -> bool:
            assert process.popen.poll() is None, process.log.read_text()[-3000:]
            return await workers() > before

        await until("the worker process serves", serving, 60)
        return process

    def reclaiming(self, queue: str = "default") -> None:
        """Reclaim all the time, as the scheduler does."""

        async def loop() -> None:
            while True:
                with contextlib.suppress(QueueUnavailable):
                    await self.queue.reclaim(queue)
                await asyncio.sleep(0.1)

        self._tasks.append(asyncio.create_task(loop()))

    async def lose_leases(self, queue: str = "default") -> None:
        """All workers' leases run out now, and what they have claimed is given to others: returns when it is."""

        async def reclaimed() -> bool:
            client, place = self.queue.client, f"{keys.prefix(queue)}:workers"
            await client.zadd(place, dict.fromkeys(await client.zrange(place, 0, -1), 1))
            found = await self.queue.reclaim(queue)  # nothing, if one has renewed its lease in that moment
            return bool(found.requeued or found.failed)

        await until("the jobs are taken away", reclaimed)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes:
            process.end()
        for worker in list(self._workers):
            await self.stop(worker)
        for queue in self._queues:
            await queue.close()

    async def idle(self) -> None:
        """Return when a worker waits in its blocking read."""

        async def blocked() -> bool:
            return any(client["cmd"] == "blpop" for client in await self.queue.client.client_list())

        await until("a worker waits in its blocking read", blocked)

    # ------------------------------------------------------------ jobs

    def mark(self, name: str = "mark") -> Mark:
        return Mark(self.folder / name)

    def gate(self, name: str = "gate") -> Gate:
        return Gate(self.folder / name)

    async def submit(self, jtype: str, order: dict[str, Any] | bytes | None = None, **options: Any) -> str:
        """Submit a job; its id. An order given as bytes is the payload as it is."""
        if isinstance(order, dict):
            order = {name: str(value) if isinstance(value, Mark | Gate) else value for name, value in order.items()}
        payload = order if isinstance(order, bytes) else msgspec.json.encode(order or {})
        [done] = await self.queue.submit([NewJob(jtype, payload, **options)])
        return done.id

    async def view(self, job_id: str) -> JobView:
        found = await self.queue.get(job_id)
        assert found is not None, f"{job_id} is unknown"
        return found

    async def is_in(self, job_id: str, state: str, seconds: float = 30.0) -> JobView:
        """The job once it is in ``state``."""

        async def there() -> JobView | None:
            found = await self.view(job_id)
            return found if found.state == state else None

        return await until(f"{job_id} is {state}", there, seconds)

    async def ended(self, job_id: str, seconds: float = 30.0) -> JobView:
        """The job once it is terminal."""

        async def over() -> JobView | None:
            found = await self.queue.get(job_id)
            return found if found is not None and found.state in TERMINAL else None

        return await until(f"{job_id} ends", over, seconds)

    async def row(self, job_id: str, seconds: float = 30.0) -> TerminalJob:
        """The job's row in PostgreSQL, once it is there."""
        return await until(f"{job_id} is in PostgreSQL", lambda: self.store.get(job_id), seconds)

    async def run(self, jtype: str, order: dict[str, Any] | bytes | None = None, **options: Any) -> JobView:
        """Submit a job and wait for its end."""
        return await self.ended(await self.submit(jtype, order, **options))


@contextlib.asynccontextmanager
async def open_bench(redis_url: str, dsn: str, store: Store, folder: Path) -> AsyncIterator[Bench]:
    """A bench on the given servers."""
    settings = Settings(**{**FAST, "redisaddr": redis_url, "databaseurl": dsn, "leaseseconds": LEASE, "queues": "default"})
    queue = await Queue.connect(settings)
    bench = Bench(queue, store, settings, folder)
    try:
        yield bench
    finally:
        await bench.close()
        await queue.close()
