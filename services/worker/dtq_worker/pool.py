"""Runs sync handlers in processes that can be killed.

The processes come from a fork server that has the handler modules loaded, so that one is replaced within milliseconds
after a kill. Progress comes back as datagrams: a process killed in the middle of a report holds no lock and leaves no
half message.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from dtq.config import Settings
from dtq.registry import Registry, load_registry
from dtq_worker.context import checked_output, retries_left
from dtq_worker.outcome import trace_of, words
from dtq_worker.process import HandlerProcess, ProcessDied
from dtq_worker.progress import shown
from dtq_worker.scratch import new_folder
from dtq_worker.slots import LogCapture, Running, Seat, current
from dtq_worker.values import encode_result

__all__ = ["Answer", "HandlerProcesses", "Task"]

MAX_REPORT = 4096
"""Bytes of one progress datagram."""

PROCESSES_TRIED = 3
"""Processes that may die in a row before they take a job: that is no fault of the job's."""


class Task(msgspec.Struct, frozen=True):
    """What a handler process is told."""

    id: str
    queue: str
    type: str
    attempt: int
    retries_left: int
    payload: bytes


class Answer(msgspec.Struct):
    """What a handler process answers: a result, or the exception with its trace (pickling drops traceback and cause)."""

    result: bytes | None = None
    error: BaseException | None = None
    trace: str = ""
    output: str | None = None
    logs: list[str] = []


class _Child:
    """State of one handler process, set up once by :func:`_begin`."""

    settings: Settings
    registry: Registry
    reports: socket.socket


def _end_with_worker() -> None:
    """A worker killed outright cannot end its processes, and nobody else would time them out: they see it go."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _begin(settings: Settings, modules: list[str], address: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the worker decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_worker, name="worker-watch", daemon=True).start()
    _Child.settings = settings
    _Child.registry = load_registry(modules)
    _Child.reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    _Child.reports.setblocking(False)
    with contextlib.suppress(OSError):
        _Child.reports.connect(address)
    root = logging.getLogger()
    root.addHandler(LogCapture())
    root.setLevel(settings.loglevel)


class _ChildContext:
    """The JobContext of sync handlers."""

    def __init__(self, task: Task, running: Running) -> None:
        self._task = task
        self._running = running

    @property
    def id(self) -> str:
        return self._task.id

    @property
    def queue(self) -> str:
        return self._task.queue

    @property
    def attempt(self) -> int:
        return self._task.attempt

    @property
    def retries_left(self) -> int:
        return self._task.retries_left

    @property
    def settings(self) -> Settings:
        return _Child.settings

    def progress(self, fraction: float, message: str = "") -> None:
        report = msgspec.json.encode([self._task.queue, self._task.id, fraction, shown(message)])
        with contextlib.suppress(OSError):  # a full or closed socket loses a report, never a job
            _Child.reports.send(report)

    def output(self, key: str) -> None:
        self._running.output = checked_output(key)


def _run(task: Task) -> Answer:
    """Run one handler, in a handler process."""
    running = Running(None, 0.0, 0.0)  # type: ignore[arg-type] # a place for logs and output; the job stays with the worker
    seat = Seat()
    seat.running = running
    token = current.set(seat)
    answer = Answer()
    try:
        handler = _Child.registry.handlers[task.type]
        payload = handler.job_type.payload.model_validate_json(task.payload)
        answer.result = encode_result(handler.func(payload, _ChildContext(task, running)))
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises, SystemExit too, is the job's outcome
        answer.error, answer.trace = _portable(error), trace_of(error)
    finally:
        current.reset(token)
    answer.output, answer.logs = running.output, running.log_lines()
    return answer


def _portable(error: BaseException) -> BaseException:
    """The error itself if it can cross to the worker, else a plain one of the same words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - any class may break pickling in any way
        return RuntimeError(f"{type(error).__name__}: {words(error)}")
    return error


class HandlerProcesses:
    """A pool of handler processes, started at the first use."""

    def __init__(self, settings: Settings, modules: list[str], preload: list[str], report: Callable[[str, str, float, str], None]) -> None:
        """``modules`` hold the handlers, ``preload`` what these import as they run.

        ``report(queue, id, fraction, message)`` takes progress.
        """
        self._settings = settings
        self._modules = modules
        self._preload = preload
        self._report = report
        self._setup: Callable[[], None] | None = None
        self._idle: list[HandlerProcess] = []
        self._processes: set[HandlerProcess] = set()
        self._starting = asyncio.Lock()
        self._folder = ""
        self._socket: socket.socket | None = None
        self.size = settings.processes or os.cpu_count() or 1
        self._context = multiprocessing.get_context("forkserver")
        self._free = asyncio.Semaphore(self.size)

    async def _prepare(self) -> Callable[[], None]:
        """What each process does first. The socket for their reports is made for the first of them."""
        self._folder = str(await asyncio.to_thread(new_folder))
        address = str(Path(self._folder) / "reports")
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        try:
            receiver.bind(address)
        except OSError as error:
            receiver.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise OSError(f"no socket can be made as {address} ({error}): TMPDIR must be a short path") from error
        self._socket = receiver
        asyncio.get_running_loop().add_reader(receiver, self._receive)
        self._context.set_forkserver_preload(["dtq_worker.pool", *self._modules, *self._preload])
        atexit.register(self._kill)  # multiprocessing waits at the exit for those that live
        return partial(_begin, self._settings, self._modules, address)

    async def _start(self) -> None:
        """Start a process. The first time, with the fork server, that takes most of a second."""
        async with self._starting:
            if self._setup is None:
                self._setup = await self._prepare()
            process = await HandlerProcess.start(self._context, self._setup, _run)
            self._processes.add(process)
            self._idle.append(process)

    async def _process(self) -> HandlerProcess:
        """A process that is free."""
        while True:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                await self._drop(process)
            starting = asyncio.ensure_future(self._start())
            try:
                await asyncio.shield(starting)
            finally:  # interrupted or not, the process is there to be used, or to be closed
                await asyncio.wait([starting])

    async def _drop(self, process: HandlerProcess) -> None:
        await process.end()
        self._processes.discard(process)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                queue, job_id, fraction, message = msgspec.json.decode(self._socket.recv(MAX_REPORT))
            except BlockingIOError:
                return
            except (msgspec.DecodeError, ValueError, TypeError):
                continue
            self._report(queue, job_id, fraction, message)

    async def run(self, running: Running) -> Answer:
        """Run the job's handler in a process; at its timeout, and when interrupted, the process is killed.

        Raises:
            TimeoutError: the handler did not end in time.
            asyncio.CancelledError: interrupted.
            ProcessDied: the process died, for instance because it used too much memory.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in a task
        running.interrupt = task.cancel
        async with self._free:
            answer = await self._answer(running)
        await asyncio.sleep(0)  # the next job gets its process before this one's end is dealt with
        return answer

    async def _answer(self, running: Running) -> Answer:
        if running.is_stopped():
            raise asyncio.CancelledError
        job = running.job
        order = Task(job.id, job.queue, job.type, job.attempt, retries_left(job, self._settings), job.payload)
        process = await self._begin_in_process(order)
        try:
            running.interrupt = process.answer.cancel
            async with asyncio.timeout(running.timeout):  # it counts from here: the handler starts now
                answer: Answer = await process.answer
        except BaseException:
            await self._drop(process)
            raise
        self._idle.append(process)
        return answer

    async def _begin_in_process(self, order: Task) -> HandlerProcess:
        """The process that has taken the task. One that was killed while it was idle does not harm the job."""
        for tries in range(1, PROCESSES_TRIED + 1):
            process = await self._process()
            try:
                await process.begin(order)
            except BaseException as error:
                await self._drop(process)
                if not isinstance(error, ProcessDied) or tries == PROCESSES_TRIED:
                    raise
            else:
                return process
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Kill what still runs, and remove what was made."""
        async with self._starting:
            self._setup, self._idle = None, []
        atexit.unregister(self._kill)
        await asyncio.gather(*map(self._drop, list(self._processes)))
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        shutil.rmtree(self._folder, ignore_errors=True)
