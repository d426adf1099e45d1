"""Bytes of Valkey per queued job, and the cost of a claim with many jobs queued.

    python benchmarks/memory.py [--jobs 1000000]

Valkey keeps no file here. Jobs are `noop` with a payload of 100 bytes, submitted in batches of 1,000. Bytes:
(used_memory - used_memory of the empty server) / jobs. Claim cost: time of claim(100) + finish(100) a job, the median of
30 calls, with few jobs queued and with all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop
from program import launch, positive

from dtq.config import Settings
from dtq.embedded import ValkeyServer
from dtq.job import Attempt, NewJob, State, TerminalJob
from dtq.queue import Queue
from dtq.queue.claims import Claims, Finish

PAYLOAD = b'{"x":"' + b"a" * 92 + b'"}'


async def turn(claims: Claims, queue: Queue) -> float:
    start = time.perf_counter()
    found = await claims.claim("default", 100)
    ends = []
    for job in found.jobs:
        attempt = Attempt(1, claims.worker, found.now, found.now, "succeeded")
        row = TerminalJob(
            id=job.id, queue=job.queue, type=job.type, state=State.SUCCEEDED, submitted=job.submitted, finished=found.now,
            payload=msgspec.Raw(job.payload), started=found.now, attempts=[attempt],
        )  # fmt: skip
        ends.append(Finish(job, "k", msgspec.json.encode(row)))
    done = await claims.finish("default", ends)
    seconds = time.perf_counter() - start
    await queue.clear_outbox("default", [done.outbox or ""])
    return seconds / len(ends) * 1e6


async def measure(url: str, jobs: int) -> dict[str, float]:
    queue = await Queue.connect(Settings(redisaddr=url))
    empty = (await queue.client.info("memory"))["used_memory"]
    claims = Claims(queue.client, "bench-1-00000000", 60_000, 60_000, 60_000)
    batch = [NewJob("noop", PAYLOAD)] * 1000
    await queue.submit(batch * 5)
    few = statistics.median([await turn(claims, queue) for _ in range(30)])
    await queue.client.flushall()
    for _ in range(jobs // 1000):
        await queue.submit(batch)
    used = (await queue.client.info("memory"))["used_memory"]
    many = statistics.median([await turn(claims, queue) for _ in range(30)])
    await claims.close()
    await queue.close()
    return {"jobs": jobs, "bytes_per_job": (used - empty) / jobs, "turn_us_few": few, "turn_us_many": many, "many_to_few": many / few}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=positive, default=1_000_000)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dtq-bench-") as folder:
        server = ValkeyServer(Path(folder), durable=False)
        server.start()
        try:
            found = uvloop.run(measure(server.url, args.jobs))
        finally:
            server.stop()
    print(f"{found['jobs']:,} queued: {found['bytes_per_job']:.0f} bytes a job")
    few, many = found["turn_us_few"], found["turn_us_many"]
    print(f"claim + finish: {few:.1f} us a job with 5,000 queued, {many:.1f} us with all (ratio {many / few:.2f})")
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    launch(main)
