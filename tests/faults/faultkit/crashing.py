"""Runs a service that can be made to crash between any two of its dealings with Redis and PostgreSQL:

    python -m faultkit.crashing dtq_worker

The hooks are put around redis-py's connection and psycopg's generators, through which every command and statement of every
thread goes, before the service is imported; the service itself has none. The file CRASHCONTROL says what to do, and may be
written again at any time: ``{"epoch": E, "step": S, "place": P, "nth": N}``. In each epoch the steps met are appended to
CRASHSTEPS, a line "E TAB S TAB COUNT" at the first, second and fourth time, and at the N-th time that the process is at
place P of step S it kills itself with SIGKILL:

- place "before": nothing of it has been sent;
- place "sent": the kernel has all of it, no answer has been read: nobody knows whether it was executed;
- place "after": its answer has been read, and the program has done nothing with it.

Right before the end a line "E TAB S TAB P TAB PID" is appended to CRASHLOG, which shows that the fault happened there.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import runpy
import signal
import sys
import threading
import weakref
from collections.abc import Generator
from importlib.resources import files
from pathlib import Path
from typing import Any

from faultkit.crashnames import SqlNames, commands_of, redis_step
from faultkit.history import Log

__all__ = ["PLACES", "main", "script_names"]

PLACES = ("before", "sent", "after")


class Points:
    """Counts the steps met, and ends the process where it was told to."""

    def __init__(self, service: str) -> None:
        self._service = service.removeprefix("dtq_")
        self._control = os.environ["CRASHCONTROL"]
        self._version: tuple[int, int] = (0, 0)
        self._wanted: dict[str, Any] = {}
        self._met: collections.Counter[str] = collections.Counter()
        self._count = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def reach(self, step: str, place: str) -> None:
        """The program is at this place of this step."""
        if os.getpid() != self._pid:
            return  # a process of the worker's pool
        with self._lock:
            self._look()
            if place == "before":
                self._met[step] += 1
                if self._met[step] in (1, 2, 4):
                    _append(os.environ["CRASHSTEPS"], f"{self._wanted.get('epoch', '')}\t{step}\t{self._met[step]}")
            if step == self._wanted.get("step") and place == self._wanted["place"]:
                self._count += 1
                if self._count >= self._wanted["nth"]:
                    Log(os.environ["HISTORY"], "fault").note("fault", text="SIGKILL", target=self._service, pid=self._pid)
                    _append(os.environ["CRASHLOG"], f"{self._wanted['epoch']}\t{step}\t{place}\t{self._pid}")
                    os.kill(self._pid, signal.SIGKILL)

    def _look(self) -> None:
        """Read the control file if it is another one than before."""
        try:
            found = os.stat(self._control)
        except FileNotFoundError:
            return
        version = (found.st_ino, found.st_mtime_ns)
        if version != self._version:
            self._version = version
            self._wanted = json.loads(Path(self._control).read_text())
            self._met.clear()
            self._count = 0


def _append(path: str, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, line.encode() + b"\n")
    os.close(file)


# ---------------------------------------------------------------------- Redis


def script_names() -> dict[str, str]:
    """SHA-1 to name, of all scripts; a service's own are found in its package."""
    from dtq.queue import scripts as queue_scripts
    from dtq.schedule import scripts as schedule_scripts

    names: dict[str, str] = {}
    for package, load, prefix in (("dtq", queue_scripts.load, ""), ("dtq.schedule", schedule_scripts.load, "schedules ")):
        for file in (files(package) / "lua").iterdir():
            name = file.name.removesuffix(".lua")
            if file.name.endswith(".lua") and name != "common":
                names[load(name).sha] = prefix + name
    from dtq_scheduler import servers

    script = servers._script()  # the only one a service has for itself
    return names | {script.sha: script.name}


def _hook_redis(points: Points) -> None:
    from redis.asyncio.connection import AbstractConnection
    from redis.exceptions import ResponseError

    from dtq.queue.connection import _Wary

    names = script_names()
    read = AbstractConnection.read_response
    unanswered: weakref.WeakKeyDictionary[Any, collections.deque[str]] = weakref.WeakKeyDictionary()

    inside: set[Any] = set()

    def noting(send: Any) -> Any:
        """``send_packed_command`` of a class; one that calls its parent's for some commands is noted once."""

        async def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
            if self in inside:
                await send(self, command, check_health)
                return
            packet = list(command) if not isinstance(command, (bytes, str)) else command
            steps = [redis_step(one, names) for one in commands_of(packet)]
            for step in dict.fromkeys(steps):
                points.reach(step, "before")
            if not self.is_connected:
                unanswered.pop(self, None)
            inside.add(self)
            try:
                await send(self, packet, check_health)
            finally:
                inside.discard(self)
            transport = self._writer.transport
            while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(0)  # the event loop has it, the kernel not yet
            unanswered.setdefault(self, collections.deque()).extend(steps)
            for step in dict.fromkeys(steps):
                points.reach(step, "sent")

        return send_packed_command

    async def read_response(self: Any, *args: Any, **options: Any) -> Any:
        try:
            answer = await read(self, *args, **options)
        except ResponseError:
            _answered(self)
            raise
        _answered(self)
        return answer

    def _answered(connection: Any) -> None:
        waiting = unanswered.get(connection)
        if waiting:
            points.reach(waiting.popleft(), "after")

    for kind in (AbstractConnection, _Wary):
        kind.send_packed_command = noting(kind.send_packed_command)  # type: ignore[method-assign]
    AbstractConnection.read_response = read_response  # type: ignore[method-assign]


# ---------------------------------------------------------------------- PostgreSQL


def _statements() -> SqlNames:
    from dtq.storage.sql import statement

    texts = files("dtq.storage.sql").iterdir()
    return SqlNames({file.name[:-4]: statement(file.name[:-4]).decode() for file in texts if file.name.endswith(".sql")})


def _hook_postgres(points: Points) -> None:
    from psycopg import _connection_base, _cursor_base, generators

    names = _statements()
    current: dict[int, str] = {}  # by connection: what is being sent

    def sending(connection: Any, step: str) -> None:
        current[id(connection)] = step
        points.reach(step, "before")

    def execute(pgconn: Any) -> Generator[Any, Any, Any]:
        step = current.get(id(pgconn), "SQL ?")
        yield from generators.send(pgconn)
        points.reach(step, "sent")
        results = yield from generators.fetch_many(pgconn)
        points.reach(step, "after")
        return results

    def around(name: str, step_of: Any) -> None:
        """Note what a cursor's method is about to send."""
        inner = getattr(_cursor_base.BaseCursor, name)

        def method(self: Any, *args: Any, **options: Any) -> Any:
            sending(self._pgconn, step_of(*args))
            return inner(self, *args, **options)

        setattr(_cursor_base.BaseCursor, name, method)

    around("_execute_send", lambda query: names.step(query.query))
    around("_send_prepare", lambda _name, query: f"{names.step(query.query)} (prepare)")
    around("_send_query_prepared", lambda _name, query: names.step(query.query))
    command = _connection_base.BaseConnection._exec_command

    def _exec_command(self: Any, text: Any, *args: Any, **options: Any) -> Generator[Any, Any, Any]:
        raw = text if isinstance(text, bytes) else text.encode() if isinstance(text, str) else text.as_bytes(self)
        sending(self.pgconn, names.step(raw))
        return (yield from command(self, text, *args, **options))

    _connection_base.BaseConnection._exec_command = _exec_command  # type: ignore[method-assign, assignment]
    _cursor_base.execute = execute  # type: ignore[attr-defined]
    generators.execute = execute


def main() -> None:
    """Put the hooks in, and become the service that the command line names."""
    service = sys.argv[1]
    points = Points(service)
    _hook_redis(points)
    _hook_postgres(points)
    sys.argv = [service]
    with contextlib.suppress(KeyboardInterrupt):
        runpy.run_module(service, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
