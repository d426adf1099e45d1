"""What a job, a renewal, a reclaim and a handed-over job cost Valkey with 1, 10, 50 and 200 workers on one queue.

    python benchmarks/scale_workers.py [--jobs 40000] [--workers 1,10,50,200]

The workers are simulated: one ``Claims`` each, with connections of its own, all in this process, which is the slower side.
So the figure is Valkey's CPU time (user + system) for each operation, not a rate. Busy: all workers claim and finish 10
jobs at a time until ``jobs`` are done. Renewals: each worker holds one job. Handed over: every worker waits, and jobs are
submitted one by one; each is claimed for a waiting worker by the script that submits it. Such a job comes alone, so that
it pays for four syncs of the append-only file, which count as CPU time too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import uvloop
from program import launch, numbers, positive

from dtq.config import Settings
from dtq.embedded import ValkeyServer
from dtq.job import Attempt, NewJob, State, TerminalJob
from dtq.queue import Queue, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish, read_box

PAYLOAD = b'{"x":"' + b"a" * 92 + b'"}'
LEASE_MS = 60_000
RENEWALS = 4000
RECLAIMS = 3000
HANDED = 1000


class Meter:
    """CPU time of a process."""

    def __init__(self, pid: int | None) -> None:
        assert pid is not None
        self._process = psutil.Process(pid)

    def read(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


def ended(claims: Claims, job: ClaimedJob, now: int) -> Finish:
    attempt = Attempt(1, claims.worker, now, now, "succeeded")
    row = TerminalJob(
        id=job.id, queue=job.queue, type=job.type, state=State.SUCCEEDED, submitted=job.submitted, finished=now,
        payload=msgspec.Raw(job.payload), started=now, attempts=[attempt],
    )  # fmt: skip
    return Finish(job, "k", msgspec.json.encode(row))


async def drain(claims: Claims) -> int:
    """Claim and finish until there is nothing left; how many."""
    done = 0
    while True:
        found = await claims.claim("default", 10)
        if not found.jobs:
            return done
        await claims.finish("default", [ended(claims, job, found.now) for job in found.jobs])
        done += len(found.jobs)


@contextlib.asynccontextmanager
async def simulated(queue: Queue, count: int) -> AsyncIterator[list[Claims]]:
    workers = [Claims(queue.client, f"bench-{n}-00000000", LEASE_MS, 60_000, 60_000) for n in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            await worker.close()


async def handed(queue: Queue, workers: list[Claims], meter: Meter) -> float:
    """us of Valkey for a job that is submitted to waiting workers, taken from the box and finished."""
    by_box = {keys.box("default", worker.worker): worker for worker in workers}
    for worker in workers:
        await worker.claim("default", 1, wait=True)
    began = meter.read()
    for _ in range(HANDED):
        await queue.submit([NewJob("noop", PAYLOAD)])
        box, content = await queue.client.blpop(list(by_box), timeout=10)
        worker = by_box[box.decode()]
        job = read_box("default", content)
        assert job is not None
        await worker.finish("default", [ended(worker, job, job.submitted)])
        await worker.claim("default", 1, wait=True)
    spent = meter.read() - began
    for worker in workers:
        await worker.retract("default")
    return spent / HANDED * 1e6


async def measure(queue: Queue, meter: Meter, count: int, jobs: int) -> dict[str, float]:
    await queue.client.flushall()
    async with simulated(queue, count) as workers:
        for _ in range(jobs // 1000):
            await queue.submit([NewJob("noop", PAYLOAD)] * 1000)
        for worker in workers:
            await worker.renew("default")
        began = meter.read()
        done = sum(await asyncio.gather(*(drain(worker) for worker in workers)))
        assert done == jobs // 1000 * 1000, done
        job_us = (meter.read() - began) / done * 1e6
        await queue.submit([NewJob("noop", PAYLOAD)] * count)
        held = {worker: (await worker.claim("default", 1)).jobs for worker in workers}
        began = meter.read()
        for _ in range(RENEWALS // count):
            renewals = await asyncio.gather(*(worker.renew("default") for worker in workers))
            assert all(renewal.held for renewal in renewals)
        renewal_us = (meter.read() - began) / (RENEWALS // count * count) * 1e6
        began = meter.read()
        for _ in range(RECLAIMS):
            await queue.reclaim("default")
        reclaim_us = (meter.read() - began) / RECLAIMS * 1e6
        for worker, found in held.items():
            await worker.finish("default", [ended(worker, job, job.submitted) for job in found])
        handed_us = await handed(queue, workers, meter)
    return {"workers": count, "job_us": job_us, "renewal_us": renewal_us, "reclaim_us": reclaim_us, "handed_us": handed_us}


async def run(url: str, pid: int | None, args: argparse.Namespace) -> list[dict[str, float]]:
    queue = await Queue.connect(Settings(redisaddr=url), connections=1024)
    found = []
    try:
        for count in args.workers:
            one = await measure(queue, Meter(pid), count, args.jobs)
            found.append(one)
            print(
                f"{count:>4} workers: job {one['job_us']:.1f} us of Valkey, renewal {one['renewal_us']:.0f}, "
                f"reclaim {one['reclaim_us']:.0f}, handed-over job {one['handed_us']:.0f}",
                flush=True,
            )
    finally:
        await queue.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=positive, default=40_000)
    parser.add_argument("--workers", type=numbers, default="1,10,50,200")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dtq-bench-") as folder:
        server = ValkeyServer(Path(folder), durable=True)
        server.start()
        try:
            found = uvloop.run(run(server.url, server.pid, args))
        finally:
            server.stop()
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    launch(main)
