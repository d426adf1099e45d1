"""Job types of the fault tests: they do as their payload says, and note start and end of every execution in the history."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import time
import uuid
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dtq.errors import Permanent
from dtq.registry import JobContext, JobType, handler
from faultkit.history import Log

MODULE = __name__

Kind = Literal["ok", "flaky", "always", "permanent"]


class Plan(BaseModel):
    """What an execution does.

    ``ok`` succeeds; ``flaky`` fails ``times`` times, then succeeds; ``always`` fails; ``permanent`` fails for good. First it
    takes ``seconds`` (sleeping, or with ``spin`` keeping a core and the interpreter busy, or with ``hold`` in a C function that
    does not let go of the interpreter, so that no other thread of its process runs).
    """

    model_config = ConfigDict(extra="forbid")

    tag: str
    kind: Kind = "ok"
    times: int = 0
    seconds: float = 0.0
    spin: bool = False
    hold: bool = False
    size: int = 0
    """Bytes of text in the result."""
    reports: int = 0
    """Progress reports before anything else."""
    max_retries: int | None = None
    """What the submission says too, if anything: by it the failures so far are known."""


@cache
def _log(_: int) -> Log:
    return Log(os.environ["HISTORY"], f"worker {os.getpid()}")


@contextlib.contextmanager
def _noted(plan: Plan, ctx: JobContext) -> Iterator[dict[str, Any]]:
    log = _log(os.getpid())  # by pid: a handler process is forked from one that may have opened its own
    token = uuid.uuid4().hex
    parent = multiprocessing.parent_process()
    worker = (parent and parent.pid) or os.getpid()
    about = {"job": ctx.id, "tag": plan.tag, "attempt": ctx.attempt, "token": token, "pid": worker}
    log.note("start", **about, plan=plan.model_dump())
    try:
        yield {"tag": plan.tag, "attempt": ctx.attempt, "token": token, "text": "x" * plan.size}
    except Permanent:
        log.note("end", **about, state="permanent")
        raise
    except Exception:
        log.note("end", **about, state="error")
        raise
    except BaseException:
        log.note("end", **about, state="cancelled")
        raise
    log.note("end", **about, state="ok")


def _outcome(plan: Plan, failures: int) -> None:
    if plan.kind == "permanent":
        raise Permanent("as planned")
    if plan.kind == "always" or (plan.kind == "flaky" and failures < plan.times):
        raise ValueError("as planned")


def _failures(plan: Plan, ctx: JobContext) -> int:
    """How often this job has failed; crashes and hand-backs do not count."""
    limit = ctx.settings.maxretries if plan.max_retries is None else plan.max_retries
    return int(limit) - ctx.retries_left


def _report(plan: Plan, ctx: JobContext) -> None:
    for number in range(plan.reports):
        ctx.progress((number + 1) / plan.reports, f"report {number + 1}")


def _keep_busy(plan: Plan) -> None:
    if plan.hold:
        ctypes.PyDLL(None).usleep(int(plan.seconds * 1e6))
    until = time.monotonic() + plan.seconds
    while plan.spin and time.monotonic() < until:
        sum(range(1000))


@handler(JobType("task", Plan))
async def task(plan: Plan, ctx: JobContext) -> dict[str, Any]:
    """On the worker's event loop."""
    with _noted(plan, ctx) as result:
        _report(plan, ctx)
        if plan.spin or plan.hold:
            _keep_busy(plan)
        elif plan.seconds:
            await asyncio.sleep(plan.seconds)
        _outcome(plan, _failures(plan, ctx))
        return result


@handler(JobType("task_pool", Plan))
def task_pool(plan: Plan, ctx: JobContext) -> dict[str, Any]:
    """In a process of the worker's pool."""
    with _noted(plan, ctx) as result:
        _report(plan, ctx)
        if plan.spin or plan.hold:
            _keep_busy(plan)
        elif plan.seconds:
            time.sleep(plan.seconds)
        _outcome(plan, _failures(plan, ctx))
        return result


class Quick(BaseModel):
    """The payload of jobs that there are a million of: they leave no history."""

    model_config = ConfigDict(extra="forbid")

    fail: bool = False


@handler(JobType("quick", Quick))
async def quick(payload: Quick, ctx: JobContext) -> None:
    """Returns at once, or fails for good."""
    if payload.fail:
        raise Permanent("as asked")
