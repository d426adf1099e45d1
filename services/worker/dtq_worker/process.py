"""One handler process: a child of the fork server that is asked one thing at a time.

Two of them share nothing, no pipe and no lock: whatever becomes of one, killed at any moment or spoiled by its handler, is
no other's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

__all__ = ["HandlerProcess", "ProcessDied"]

BEGIN_TIMEOUT = 60.0
"""Seconds a process has to take a task; one that has not by then hangs."""

END_TIMEOUT = 10.0
"""Seconds to wait for a killed process to be gone."""

LAST_WORDS = 0.05
"""Seconds in which to read what a process had sent before it died."""

MAX_ANSWER = 1 << 30
"""Bytes. What claims to be longer is no answer."""

SERVER_GONE = 255
"""The exit code of a process whose fork server is gone, or that has ended with it: nobody knows which."""

_HEAD = struct.Struct("!Q")
_BEGUN = b""
"""What a process says before it runs a task."""


class ProcessDied(Exception):
    """The process ended, or was ended since what it sent was no answer."""

    def __init__(self, exitcode: int | None, *, begun: bool) -> None:
        """``begun``: whether it had taken the task."""
        super().__init__(f"the handler's process died (exit code {exitcode})" if begun else f"no process began it (exit code {exitcode})")


class HandlerProcess(asyncio.Protocol):
    """The worker's side of a process. :meth:`begin` gives it a task, then ``answer`` is what comes of it."""

    def __init__(self, process: Any) -> None:
        """Take a process that was started; :meth:`start` makes one."""
        self._process = process
        self._handle = _handle(process.pid)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._asked = False
        self._spoiled = False
        self._ended = False
        self._died: asyncio.Future[None] = self._loop.create_future()
        self._exitcode: int | None = None
        self.answer: asyncio.Future[Any] = self._loop.create_future()
        """Cancelling it gives the task up; the process must then be ended."""
        self._loop.add_reader(process.sentinel, self._gone)

    @classmethod
    async def start(cls, context: ForkServerContext, setup: Callable[[], None], work: Callable[[Any], Any]) -> HandlerProcess:
        """Start a process that calls ``setup()`` and then ``work(task)`` for each task; not to be cancelled."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = context.Process(target=_serve, args=(theirs, setup, work), name="handler")
            try:
                await asyncio.to_thread(process.start)
            except BaseException:
                ours.close()
                raise
        self = cls(process)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        return self

    @property
    def alive(self) -> bool:
        """Whether it can be given a task."""
        return not (self._ended or self._spoiled) and self._transport is not None and not self._transport.is_closing()

    async def begin(self, task: Any) -> None:
        """Give it a task; returns when it has taken it.

        Raises:
            ProcessDied: it has not.
        """
        self.answer = self._loop.create_future()
        self._begun = self._loop.create_future()
        self._asked = True
        if self._transport is not None:
            self._transport.write(_frame(pickle.dumps(task)))
        try:
            async with asyncio.timeout(BEGIN_TIMEOUT):
                await asyncio.wait({self._begun, self._died}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self.kill()
        if not self._begun.done():
            raise ProcessDied(self._exitcode, begun=False)

    def kill(self) -> None:
        """Kill it; it is gone a moment later."""
        if not self._ended:
            self._process.kill()

    async def end(self) -> None:
        """Kill it, and return when it is gone."""
        self.kill()
        await asyncio.wait({self._died}, timeout=END_TIMEOUT)
        if self._transport is not None:
            self._transport.close()

    # ------------------------------------------------------------------ called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = transport  # type: ignore[assignment] # that of a socket

    def connection_lost(self, exc: Exception | None) -> None:
        """A process that cannot be talked to is of no use."""
        self.kill()

    def data_received(self, data: bytes) -> None:
        """Take what the process says; what makes no sense ends it, and what it says after that is not heard."""
        if self._spoiled:
            return
        self._received += data
        try:
            while (end := self._frame_end()) is not None:
                frame = bytes(self._received[_HEAD.size : end])
                del self._received[:end]
                self._take(frame)
        except Exception:  # noqa: BLE001 - a handler can write anything to any descriptor
            self._spoiled = True
            self.kill()

    def _frame_end(self) -> int | None:
        if len(self._received) < _HEAD.size:
            return None
        end = int(_HEAD.unpack_from(self._received)[0]) + _HEAD.size
        if end > MAX_ANSWER:
            raise ValueError("no answer is that long")
        return end if len(self._received) >= end else None

    def _take(self, frame: bytes) -> None:
        if not self._asked or self._begun.done() is (frame == _BEGUN):
            raise ValueError("nothing was asked")
        if frame == _BEGUN:
            self._begun.set_result(None)
            return
        answer = pickle.loads(frame)  # noqa: S301 - from our own process
        self._asked = False
        if not self.answer.done():
            self.answer.set_result(answer)

    def _gone(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._ended = True
        self._exitcode = self._process.exitcode
        with contextlib.suppress(OSError):
            if self._exitcode == SERVER_GONE:  # it may live
                self._kill_unseen()
        if self._handle is not None:
            os.close(self._handle)
        self._process.close()
        self._loop.call_later(LAST_WORDS, self._conclude)

    def _kill_unseen(self) -> None:
        """Kill it though nobody knows whether it lives."""
        if self._handle is not None:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        else:
            os.kill(self._process.pid, signal.SIGKILL)

    def _conclude(self) -> None:
        self._died.set_result(None)
        if self._transport is not None:
            self._transport.close()
        if self._begun.done() and not self.answer.done():
            self.answer.set_exception(ProcessDied(self._exitcode, begun=True))


def _handle(pid: int) -> int | None:
    """What a process is meant by even when its id has been given to another; None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # Linux alone has it, and not every kernel
        return None


# ---------------------------------------------------------------- in the process


def _serve(pipe: socket.socket, setup: Callable[[], None], work: Callable[[Any], Any]) -> None:
    """What the process does: run tasks until the worker is gone."""
    setup()
    me = os.getpid()
    with pipe, pipe.makefile("rb") as file:
        while head := file.read(_HEAD.size):
            task = pickle.loads(file.read(_HEAD.unpack(head)[0]))  # noqa: S301 - from the worker
            _send(pipe, _BEGUN)
            answer = work(task)
            if os.getpid() != me:
                os._exit(0)  # the handler forked, and this is the copy: it must not go on as a second process of this pipe
            _send(pipe, pickle.dumps(answer))


def _send(pipe: socket.socket, data: bytes) -> None:
    pipe.sendall(_frame(data))


def _frame(data: bytes) -> bytes:
    return _HEAD.pack(len(data)) + data
