"""The job type of these tests, mounted into the pods as any module of one's own is."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from dtq.registry import JobContext, JobType, handler


class Nap(BaseModel):
    """Payload: how long it takes."""

    seconds: float = 0.0


NAP = JobType("nap", Nap, timeout=300)


@handler(NAP)
async def nap(payload: Nap, ctx: JobContext) -> int:
    """Take so long; the result is which attempt did it."""
    await asyncio.sleep(payload.seconds)
    return ctx.attempt
