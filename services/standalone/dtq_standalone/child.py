"""One child process: started tied to our life, its output kept in a file, stopped gently or at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from dtq.embedded.process import tied
from dtq_standalone.plan import ChildSpec

__all__ = ["Child", "LogFile"]

MAX_LOG = 32 * 1024 * 1024
"""Bytes of a log file; then it becomes FILE.old and a new one begins."""
MAX_LINE = 256 * 1024
LAST_LINES = 20


class LogFile:
    """A log that never takes more than twice MAX_LOG. A full disk loses lines, not the process that writes them."""

    def __init__(self, path: Path, limit: int = MAX_LOG) -> None:
        self.path = path
        self._limit = limit

    def write(self, data: bytes) -> None:
        """Append."""
        with contextlib.suppress(OSError):
            if self.path.exists() and self.path.stat().st_size + len(data) > self._limit:
                self.path.replace(self.path.with_name(self.path.name + ".old"))
            with self.path.open("ab") as file:
                file.write(data)


class Child:
    """A process made from a spec, over and over again if need be. ``seen`` is called with each line it writes."""

    def __init__(self, spec: ChildSpec, log: LogFile, seen: Callable[[bytes], None]) -> None:
        self.spec = spec
        self.log = log
        self._seen = seen
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._started = 0.0

    @property
    def pid(self) -> int | None:
        """Process id, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def last_line(self) -> str:
        """The last line it wrote: after a crash usually the reason."""
        return next((text for line in reversed(self._last) if (text := line.decode(errors="replace").strip())), "")

    @property
    def ran_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started

    async def start(self) -> None:
        """Start the process, in a session of its own. Call this on the main thread, else it is not tied to our life."""
        self._last.clear()
        command = tied([sys.executable, "-m", *self.spec.command], signal.SIGKILL)
        # A pipe of our own: asyncio takes a process for running as long as anybody, such as a process that it left behind,
        # holds the other end of a pipe that asyncio made.
        ours, theirs = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=dict(self.spec.environment),
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._started = time.monotonic()
        self._reader = asyncio.create_task(self._read(ours), name=f"log of {self.spec.name}")

    async def wait(self) -> int:
        """Wait for the end of the process; its exit code, negative when a signal killed it."""
        process, reader = self._running()
        code = await process.wait()
        # What it has started itself and left behind goes with it; such a process may also hold the pipe open.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait([reader], timeout=2)
        reader.cancel()
        return code

    def ask(self) -> None:
        """Ask it to stop."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and what it started."""
        if self.pid is not None:
            os.killpg(self.pid, signal.SIGKILL)

    def _running(self) -> tuple[asyncio.subprocess.Process, asyncio.Task[None]]:
        if self._process is None or self._reader is None:
            raise RuntimeError(f"{self.spec.name} was not started")
        return self._process, self._reader

    async def _read(self, descriptor: int) -> None:
        stream = asyncio.StreamReader()
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
            try:
                await self._keep_lines(stream)
            finally:
                transport.close()

    async def _keep_lines(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(64 * 1024):
            self.log.write(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._keep(line)
            rest = rest[:MAX_LINE]
        self._keep(rest)

    def _keep(self, line: bytes) -> None:
        if line:
            self._last.append(line)
            self._seen(line)
