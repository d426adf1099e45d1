"""Job types of the worker's tests: one for each way a handler can behave or misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from dtq.errors import Permanent, Retry
from dtq.registry import Handler, JobContext, JobType, handler

MODULE = __name__
log = logging.getLogger("tests.jobs")
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


class Order(BaseModel):
    """Payload of every type here."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = 0.0
    times: int = 0
    text: str = ""
    mark: str = ""
    """A file that gets one line for each attempt that starts, whatever process it runs in."""
    gate: str = ""
    """A file that is waited for."""


class Odd(Exception):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Slots:
    """How many `slot` handlers of this process run, and the most that ever did."""

    now = 0
    peak = 0


def _mark(order: Order, ctx: JobContext) -> None:
    if order.mark:
        with Path(order.mark).open("a") as file:
            file.write(f"{os.getpid()} {ctx.attempt} {time.time_ns() // 1_000_000} {order.text}\n")


def _async(name: str) -> Callable[[Callable[[Order, JobContext], Awaitable[Any]]], Handler]:
    def mark(func: Callable[[Order, JobContext], Awaitable[Any]]) -> Handler:
        async def run(order: Order, ctx: JobContext) -> Any:
            _mark(order, ctx)
            return await func(order, ctx)

        return handler(JobType(name, Order))(run)

    return mark


def _sync(name: str) -> Callable[[Callable[[Order, JobContext], Any]], Handler]:
    def mark(func: Callable[[Order, JobContext], Any]) -> Handler:
        def run(order: Order, ctx: JobContext) -> Any:
            _mark(order, ctx)
            return func(order, ctx)

        return handler(JobType(name, Order))(run)

    return mark


# ---------------------------------------------------------------- on the event loop


@_async("echo")
async def echo(order: Order, ctx: JobContext) -> dict[str, Any]:
    return {"text": order.text, "attempt": ctx.attempt, "queue": ctx.queue}


@_async("sleep")
async def sleep(order: Order, ctx: JobContext) -> str:
    await asyncio.sleep(order.seconds)
    return "slept"


@_async("held")
async def held(order: Order, ctx: JobContext) -> str:
    """Run until the gate is open."""
    await _opened(order)
    return "let go"


async def _opened(order: Order) -> None:
    while not Path(order.gate).exists():  # noqa: ASYNC110, ASYNC240 - whichever process opens it
        await asyncio.sleep(0.01)


@_async("slot")
async def slot(order: Order, ctx: JobContext) -> None:
    Slots.now += 1
    Slots.peak = max(Slots.peak, Slots.now)
    await asyncio.sleep(order.seconds)
    Slots.now -= 1


@_async("raises")
async def raises(order: Order, ctx: JobContext) -> str:
    """Fail the first `times` attempts."""
    if ctx.attempt <= order.times:
        raise ValueError(f"attempt {ctx.attempt} is bad")
    return "well"


@_async("retry")
async def retry(order: Order, ctx: JobContext) -> str:
    if ctx.attempt <= order.times:
        raise Retry("not yet", after=order.seconds)
    return "well"


@_async("retry_at")
async def retry_at(order: Order, ctx: JobContext) -> None:
    raise Retry("later", after=float(order.text))


@_async("odd_signal")
async def odd_signal(order: Order, ctx: JobContext) -> None:
    """A signal tampered with, past the checks of its constructor."""
    signal = Retry("later")
    signal.after = float("inf")
    raise signal


@_async("odd_output")
async def odd_output(order: Order, ctx: JobContext) -> None:
    ctx.output(Path(order.text) if order.text else 7)  # type: ignore[arg-type] # what a handler without mypy does


@_sync("sync_odd_output")
def sync_odd_output(order: Order, ctx: JobContext) -> None:
    ctx.output(f"../{order.text}")


@_async("retry_because")
async def retry_because(order: Order, ctx: JobContext) -> None:
    raise Retry("not yet") from ConnectionError("refused")


@_sync("sync_retry_because")
def sync_retry_because(order: Order, ctx: JobContext) -> None:
    raise Retry("not yet") from ConnectionError("refused")


@_async("permanent_because")
async def permanent_because(order: Order, ctx: JobContext) -> None:
    raise Permanent("never") from ConnectionError("refused")


@_sync("sync_permanent_because")
def sync_permanent_because(order: Order, ctx: JobContext) -> None:
    raise Permanent("never") from ConnectionError("refused")


@_async("permanent")
async def permanent(order: Order, ctx: JobContext) -> None:
    raise Permanent("never")


@_async("logs")
async def logs(order: Order, ctx: JobContext) -> None:
    log.warning("one %s", order.text)
    await asyncio.sleep(order.seconds)
    log.warning("two %s", order.text)


@_async("bad_logs")
async def bad_logs(order: Order, ctx: JobContext) -> str:
    log.warning("%d", "not a number")
    log.warning("a NUL \x00")
    return "logged"


@_async("progress")
async def progress(order: Order, ctx: JobContext) -> None:
    ctx.progress(0.5, "half")
    await _opened(order)


@_async("not_json")
async def not_json(order: Order, ctx: JobContext) -> object:
    return object()


@_async("huge")
async def huge(order: Order, ctx: JobContext) -> str:
    return "x" * 2_000_000


@_async("set_tenant")
async def set_tenant(order: Order, ctx: JobContext) -> None:
    tenant.set(order.text)


@_async("get_tenant")
async def get_tenant(order: Order, ctx: JobContext) -> str:
    return tenant.get()


@_async("stubborn")
async def stubborn(order: Order, ctx: JobContext) -> str:
    """Swallow `times` cancellations."""
    for _ in range(order.times):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            log.warning("swallowed")
    return "done anyway"


@_async("awaits_cancelled")
async def awaits_cancelled(order: Order, ctx: JobContext) -> None:
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other


@_async("cancels_itself")
async def cancels_itself(order: Order, ctx: JobContext) -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    if order.seconds:
        await asyncio.sleep(order.seconds)
    return "unimpressed"


@_async("unprintable")
async def unprintable(order: Order, ctx: JobContext) -> None:
    raise Odd


@_async("exits")
async def exits(order: Order, ctx: JobContext) -> None:
    sys.exit("enough")


@_async("closes")
async def closes(order: Order, ctx: JobContext) -> None:
    """What Python throws into a coroutine that is closed, from a handler."""
    raise GeneratorExit


@_async("blocks")
async def blocks(order: Order, ctx: JobContext) -> str:
    """Keep the loop busy, and the interpreter's lock with it."""
    ctypes.PyDLL(None).usleep(int(order.seconds * 1e6))
    return "blocked"


@_async("kills_worker")
async def kills_worker(order: Order, ctx: JobContext) -> None:
    os._exit(3)


# ---------------------------------------------------------------- in a process


@_sync("sync_echo")
def sync_echo(order: Order, ctx: JobContext) -> dict[str, Any]:
    return {"text": order.text, "attempt": ctx.attempt, "queue": ctx.queue}


@_sync("sync_sleep")
def sync_sleep(order: Order, ctx: JobContext) -> str:
    time.sleep(order.seconds)
    return "slept"


@_sync("sync_held")
def sync_held(order: Order, ctx: JobContext) -> str:
    _wait_opened(order)
    return "let go"


def _wait_opened(order: Order) -> None:
    while not Path(order.gate).exists():
        time.sleep(0.01)


@_sync("spin")
def spin(order: Order, ctx: JobContext) -> str:
    end = time.monotonic() + order.seconds
    while time.monotonic() < end:
        pass
    return "spun"


@_sync("sync_raises")
def sync_raises(order: Order, ctx: JobContext) -> str:
    if ctx.attempt <= order.times:
        raise ValueError(f"attempt {ctx.attempt} is bad")
    return "well"


@_sync("sync_retry")
def sync_retry(order: Order, ctx: JobContext) -> str:
    if ctx.attempt <= order.times:
        raise Retry("not yet", after=order.seconds)
    return "well"


@_sync("sync_permanent")
def sync_permanent(order: Order, ctx: JobContext) -> None:
    raise Permanent("never")


@_sync("sync_logs")
def sync_logs(order: Order, ctx: JobContext) -> None:
    log.warning("one %s", order.text)


@_sync("sync_progress")
def sync_progress(order: Order, ctx: JobContext) -> None:
    ctx.progress(0.5, "half")
    _wait_opened(order)


@_sync("sync_unprintable")
def sync_unprintable(order: Order, ctx: JobContext) -> None:
    raise Odd


@_sync("sync_exits")
def sync_exits(order: Order, ctx: JobContext) -> None:
    sys.exit("enough")


@_sync("exits_255")
def exits_255(order: Order, ctx: JobContext) -> None:
    """As multiprocessing says of a process whose fork server is gone."""
    os._exit(255)


@_sync("kills_process")
def kills_process(order: Order, ctx: JobContext) -> None:
    os._exit(3)


@_sync("sync_closes")
def sync_closes(order: Order, ctx: JobContext) -> None:
    raise GeneratorExit


@_sync("forks")
def forks(order: Order, ctx: JobContext) -> str:
    """Both processes return, as if both were the handler's."""
    return "parent" if os.fork() else "child"


@_sync("kills_parent")
def kills_parent(order: Order, ctx: JobContext) -> None:
    """The parent is the fork server."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(order.seconds)


@_sync("scribbles")
def scribbles(order: Order, ctx: JobContext) -> str:
    """Write to the connection with the worker; ``text`` are the bytes in hex."""
    for entry in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(entry)).st_mode):
                os.write(int(entry), bytes.fromhex(order.text))
    return "scribbled"


@_sync("closes_files")
def closes_files(order: Order, ctx: JobContext) -> None:
    os.closerange(3, 256)


@_sync("sync_output")
def sync_output(order: Order, ctx: JobContext) -> None:
    ctx.output("files/a.png")
