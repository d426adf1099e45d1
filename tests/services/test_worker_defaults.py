"""Limits that a job type names hold for jobs that name none, however they came into the queue."""

from __future__ import annotations

import asyncio

from worker_bench import Bench
from worker_jobs import Order

from dtq.registry import Handler, JobType, handler
from dtq_worker.worker import Worker


async def _sleep(payload: Order, ctx: object) -> None:
    await asyncio.sleep(60)


IMPATIENT: Handler = handler(JobType("impatient", Order, timeout=0.2, max_retries=0))(_sleep)


async def test_a_types_timeout_and_retries_apply(bench: Bench) -> None:
    worker: Worker = await bench.worker()
    worker._executor._handlers["impatient"] = IMPATIENT
    job = await bench.run("impatient")
    assert (job.state, job.timeout, job.max_retries, len(job.attempts)) == ("failed", 0.2, 0, 1)
    assert job.error is not None
    assert job.error.kind == "timeout"
