"""Job types of the DTQ that a real Prometheus scrapes: one that takes its time, one that is repeated, one that fails for good."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from dtq.errors import Permanent
from dtq.registry import JobContext, JobType, handler


class Work(BaseModel):
    """Payload: how long it takes."""

    seconds: float = 0.0


REPORT = JobType("report", Work, timeout=60)
FLAKY = JobType("flaky", Work)
BROKEN = JobType("broken", Work)


@handler(REPORT)
async def report(payload: Work, ctx: JobContext) -> None:
    """Take so long."""
    await asyncio.sleep(payload.seconds)


@handler(FLAKY)
async def flaky(payload: Work, ctx: JobContext) -> None:
    """Fail at first."""
    await asyncio.sleep(payload.seconds)
    if ctx.attempt == 1:
        raise RuntimeError("not yet")


@handler(BROKEN)
async def broken(payload: Work, ctx: JobContext) -> None:
    """Fail for good."""
    await asyncio.sleep(payload.seconds)
    raise Permanent("beyond repair")
