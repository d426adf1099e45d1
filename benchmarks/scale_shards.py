"""What a job costs the servers of a cluster with 1, 3 and 6 shards, and how evenly queues lie on them.

    python benchmarks/scale_shards.py [--jobs 48000] [--queues 12] [--shards 1,3,6]

``0`` in --shards is a single server without cluster mode. Jobs are submitted, 500 at a time and to all queues in turn,
then claimed and finished by a simulated worker for each queue (``Claims``), 100 at a time. All servers and clients share
this machine's cores, so the figures are CPU time (user + system), not rates: of all servers together, which stays flat if
sharding costs nothing, and of the busiest server, whose inverse is what the cluster can do at most with a core for each.
Queues named NAME-0, NAME-1 ... are also what a queue in partitions would be (docs/scaling.md).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
from pathlib import Path

import psutil
import uvloop
from program import launch, numbers, positive
from scale_workers import LEASE_MS, PAYLOAD, ended

from dtq.config import Settings
from dtq.embedded import ValkeyServer, form_cluster
from dtq.job import NewJob
from dtq.queue import Queue
from dtq.queue.claims import Claims

SUBMITTED = 500
CLAIMED = 100


def spent(servers: list[ValkeyServer]) -> list[float]:
    """CPU seconds of each server so far."""
    found = []
    for server in servers:
        times = psutil.Process(server.pid).cpu_times()
        found.append(times.user + times.system)
    return found


async def drain(claims: Claims, name: str) -> int:
    """Claim and finish until the queue is empty; how many."""
    done = 0
    while True:
        found = await claims.claim(name, CLAIMED)
        if not found.jobs:
            return done
        await claims.finish(name, [ended(claims, job, found.now) for job in found.jobs])
        done += len(found.jobs)


async def measure(servers: list[ValkeyServer], names: list[str], jobs: int) -> list[float]:
    """Microseconds of CPU a job of each server."""
    queue = await Queue.connect(Settings(redisaddr=servers[0].url))
    claims = Claims(queue.client, "bench-1-00000000", LEASE_MS, 60_000, 60_000)
    try:
        before = spent(servers)
        share = jobs // len(names) // SUBMITTED
        for _ in range(share):
            await asyncio.gather(*(queue.submit([NewJob("noop", PAYLOAD, queue=name)] * SUBMITTED) for name in names))
        done = sum(await asyncio.gather(*(drain(claims, name) for name in names)))
        after = spent(servers)
        assert done == share * SUBMITTED * len(names), done
        return [(end - start) / done * 1e6 for start, end in zip(before, after, strict=True)]
    finally:
        await claims.close()
        await queue.close()


def serve(folder: Path, shards: int) -> list[ValkeyServer]:
    servers = [ValkeyServer(folder / f"node-{number}", durable=True, cluster=shards > 0) for number in range(max(1, shards))]
    for server in servers:
        server.start()
    if shards:
        form_cluster(servers)
    return servers


def shard_numbers(text: str) -> list[int]:
    """Numbers of shards with commas between, for argparse; 0 is a server that is no cluster."""
    return numbers(text, least=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=positive, default=48_000)
    parser.add_argument("--queues", type=positive, default=12)
    parser.add_argument("--shards", type=shard_numbers, default="0,1,3,6")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    names = [f"orders-{number}" for number in range(args.queues)]
    results = []
    for shards in args.shards:
        folder = Path(tempfile.mkdtemp(prefix="dtq-bench-"))
        servers: list[ValkeyServer] = []
        try:
            servers = serve(folder, shards)
            each = uvloop.run(measure(servers, names, args.jobs))
        finally:
            for server in servers:
                server.stop()
            shutil.rmtree(folder, ignore_errors=True)
        result = {"shards": shards, "job_us": sum(each), "busiest_us": max(each), "each_us": each}
        results.append(result)
        kind = f"{shards} shards" if shards else "no cluster"
        shares = ", ".join(f"{one:.1f}" for one in each)
        print(f"{kind:>10}: {sum(each):.1f} us of all servers a job; each {shares}; at most {1e6 / max(each):,.0f} jobs/s", flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    launch(main)
