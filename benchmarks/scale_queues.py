"""What many queues cost: the same jobs in 1, 100 and 1,000 queues, one worker with QUEUES=* and one scheduler.

    python benchmarks/scale_queues.py [--jobs 200000] [--queues 1,100,1000] [--idle 10]

Full load: ``jobs`` no-op jobs, submitted beforehand in turn to all queues; the clock stops when all rows are in PostgreSQL. Idle
latency: from the call of ``submit`` to the handler's start (one clock), one job at a time, each in a queue by chance. Idle
CPU: share of a core of worker, scheduler, Valkey, without jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
import uvloop
from program import launch, numbers, positive

from dtq.config import Settings
from dtq.embedded import PostgresServer, ValkeyServer, free_port
from dtq.job import NewJob
from dtq.queue import Queue
from dtq.storage.migrate import migrate

HERE = Path(__file__).resolve().parent
PAYLOAD = b'{"x":"' + b"a" * 92 + b'"}'
SAMPLES = 100


def cpu(pid: int) -> float:
    """CPU seconds of a process and of all that it has started."""
    process, total = psutil.Process(pid), 0.0
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system
    return total


def reading(pids: dict[str, int]) -> dict[str, float]:
    return {name: cpu(pid) for name, pid in pids.items()}


async def fill(queue: Queue, job: NewJob, count: int) -> None:
    """``count`` jobs like this one."""
    for start in range(0, count, 1000):
        await queue.submit([job] * min(1000, count - start))


async def rows(url: str, count: int) -> None:
    """Until so many rows are stored. Redis is not asked: looking at a thousand queues would count as the cost of their jobs."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            [(found,)] = await (await connection.execute("SELECT count(*) FROM dtq.jobs")).fetchall()
            if found >= count:
                return
            await asyncio.sleep(0.25)


async def latencies(queue: Queue, names: list[str]) -> list[float]:
    found = []
    for _ in range(SAMPLES):
        await asyncio.sleep(random.uniform(0.02, 0.08))
        name = random.choice(names)
        [job] = await queue.submit([NewJob("stamp", json.dumps({"sent": time.monotonic()}).encode(), queue=name)])
        await queue.wait(job.id, 10)
        view = await queue.get(job.id)
        assert view is not None
        assert view.result is not None, view
        found.append(float(view.result))
    return sorted(found)


async def measure(servers: tuple[ValkeyServer, PostgresServer], count: int, args: argparse.Namespace) -> dict[str, float]:
    valkey, postgres = servers
    queue = await Queue.connect(Settings(redisaddr=valkey.url))
    await queue.client.flushall()
    with psycopg.connect(postgres.url) as connection:
        connection.execute("TRUNCATE dtq.jobs")
    names = [f"queue-{n}" for n in range(count)]
    each = NewJob("noop", PAYLOAD)
    for first in range(0, count, 32):
        shares = ((name, args.jobs // count + (n < args.jobs % count)) for n, name in enumerate(names[first : first + 32], first))
        await asyncio.gather(*(fill(queue, msgspec.structs.replace(each, queue=name), share) for name, share in shares))
    env = {
        **os.environ, "REDISADDR": valkey.url, "DATABASEURL": postgres.url, "WORKERCOUNT": "100", "QUEUES": "*", "LOGLEVEL": "WARNING",
        "METRICSADDR": f"127.0.0.1:{free_port()}",
    }  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, str(HERE / "worker_process.py")], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    scheduler = subprocess.Popen([sys.executable, "-m", "dtq_scheduler"], env=env)
    try:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert valkey.pid is not None
        assert postgres.pid is not None
        worker.stdout.readline()
        pids = {"worker": worker.pid, "Valkey": valkey.pid, "PostgreSQL": postgres.pid, "scheduler": scheduler.pid}
        before, began = reading(pids), time.perf_counter()
        worker.stdin.write("go\n")
        worker.stdin.flush()
        await rows(postgres.url, args.jobs)
        seconds, after = time.perf_counter() - began, reading(pids)
        found: dict[str, Any] = {"queues": count, "rate": args.jobs / seconds}
        found |= {f"{name}_us": (after[name] - before[name]) / args.jobs * 1e6 for name in pids}
        ms = await latencies(queue, names)
        found |= {"p50_ms": ms[len(ms) // 2], "p95_ms": ms[len(ms) * 95 // 100]}
        await asyncio.sleep(2)
        before = reading(pids)
        await asyncio.sleep(args.idle)
        found |= {f"idle_{name}": (value - before[name]) / args.idle * 100 for name, value in reading(pids).items()}
        return found
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait()
        await queue.close()


def show(found: dict[str, float]) -> None:
    costs = ", ".join(f"{name[:-3]} {value:.1f} us" for name, value in found.items() if name.endswith("_us"))
    idle = ", ".join(f"{name[5:]} {value:.1f} %" for name, value in found.items() if name.startswith("idle_"))
    print(f"{found['queues']:>5} queues: {found['rate']:,.0f} jobs/s; CPU a job: {costs}")
    print(f"      idle: submit to start p50 {found['p50_ms']:.2f} ms, p95 {found['p95_ms']:.2f} ms; CPU {idle}", flush=True)


async def run(servers: tuple[ValkeyServer, PostgresServer], args: argparse.Namespace) -> list[dict[str, float]]:
    found = []
    for count in args.queues:
        found.append(await measure(servers, count, args))
        show(found[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=positive, default=200_000)
    parser.add_argument("--queues", type=numbers, default="1,100,1000")
    parser.add_argument("--idle", type=float, default=10)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dtq-bench-"))
    folder.chmod(0o755)
    valkey, postgres = ValkeyServer(folder / "valkey", durable=True), PostgresServer(folder / "postgres")
    try:
        valkey.start()
        postgres.start()
        migrate(postgres.url)
        found = uvloop.run(run((valkey, postgres), args))
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    launch(main)
