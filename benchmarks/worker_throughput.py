"""Worker throughput: no-op jobs with everything on (result, PostgreSQL row, appendfsync always), against a raw loop.

    python benchmarks/worker_throughput.py [--jobs 40000] [--slots 10,100,500] [--processes 1] [--fsync always]

Clock: from the moment that the workers are told to start until every job's row is in PostgreSQL and the outbox is empty.
The raw loop is what redis-py alone can do with the same server: XREADGROUP, SET of a result, XACK and XDEL, 100 a
pipeline. Jobs that sleep (``--kind nap``) are compared with what the slots allow as well: as many tasks on one bare event loop
that sleep as long, over and over. CPU is user + system time per job of each process, which noise on the machine changes little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import redis
import uvloop
from program import launch, numbers, positive

from dtq.config import Settings
from dtq.embedded import PostgresServer, ValkeyServer
from dtq.job import NewJob
from dtq.queue import Queue
from dtq.storage import Store
from dtq.storage.migrate import migrate

HERE = Path(__file__).resolve().parent
COSTS = (("worker", "worker_us"), ("Valkey", "valkey_us"), ("PostgreSQL", "postgres_us"))
PAYLOAD = b'{"x":"' + b"a" * 92 + b'"}'


def cpu(pid: int | None) -> float:
    assert pid is not None
    total = 0.0
    process = psutil.Process(pid)
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def raw_loop(url: str, jobs: int) -> float:
    client: Any = redis.Redis.from_url(url)
    client.flushall()
    pipe = client.pipeline(transaction=False)
    for _ in range(jobs):
        pipe.xadd("raw", {"t": "noop", "p": PAYLOAD})
    pipe.execute()
    client.xgroup_create("raw", "w", "0")
    done, start = 0, time.perf_counter()
    while done < jobs:
        pipe = client.pipeline(transaction=False)
        for _, entries in client.xreadgroup("w", "c", {"raw": ">"}, count=100):
            for entry, fields in entries:
                json.loads(fields[b"p"])
                pipe.set(b"result:" + entry, b'{"ok":true}', ex=300)
            ids = [entry for entry, _ in entries]
            pipe.xack("raw", "w", *ids)
            pipe.xdel("raw", *ids)
            done += len(ids)
        pipe.execute()
    rate = jobs / (time.perf_counter() - start)
    client.flushall()
    return rate


async def bare_naps(slots: int, ms: float, seconds: float = 2.0) -> float:
    """Sleeps of ``ms`` a second that ``slots`` tasks get done: timers are late, more so the more there are."""
    end, count = time.perf_counter() + seconds, 0

    async def nap() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await asyncio.sleep(ms / 1000)
            count += 1

    await asyncio.gather(*(nap() for _ in range(slots)))
    return count / seconds


async def run(
    valkey: ValkeyServer, postgres: PostgresServer, jobs: int, slots: int, processes: int, kind: str, ms: float
) -> dict[str, float]:
    dsn = postgres.url
    settings = Settings(redisaddr=valkey.url, databaseurl=dsn)
    queue = await Queue.connect(settings)
    store = Store(dsn)
    await store.open()
    await queue.client.flushall()
    async with store._pool.connection() as connection:
        await connection.execute("TRUNCATE dtq.jobs")
    payload = PAYLOAD if kind == "noop" else json.dumps({"ms": ms}).encode()
    await queue.submit([NewJob(kind, payload)] * jobs)
    env = {**os.environ, "REDISADDR": valkey.url, "DATABASEURL": dsn, "WORKERCOUNT": str(slots), "QUEUES": "default", "LOGLEVEL": "WARNING"}
    workers: list[Any] = [
        subprocess.Popen(
            [sys.executable, str(HERE / "worker_process.py")], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    try:
        pids = [int(worker.stdout.readline().split()[1]) for worker in workers]
        before = {"worker": sum(map(cpu, pids)), "valkey": cpu(valkey.pid), "postgres": cpu(postgres.pid)}
        start = time.perf_counter()
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        while True:
            stats = (await queue.stats(["default"]))[0]
            if stats.ready + stats.running + stats.outbox == 0:
                break
            if any(worker.poll() is not None for worker in workers):
                raise SystemExit(f"a worker has ended: {[worker.poll() for worker in workers]}")
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - start
        after = {"worker": sum(map(cpu, pids)), "valkey": cpu(valkey.pid), "postgres": cpu(postgres.pid)}
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
    async with store._pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM dtq.jobs WHERE state = 'succeeded'")
        count = next(row[0] for row in await cursor.fetchall())
    await store.close()
    await queue.close()
    assert count == jobs, f"{count} rows of {jobs} jobs"
    return {"rate": jobs / seconds, **{f"{name}_us": (after[name] - before[name]) / jobs * 1e6 for name in before}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=positive, default=40_000)
    parser.add_argument("--slots", type=numbers, default="10,100,500")
    parser.add_argument("--processes", type=positive, default=1)
    parser.add_argument("--fsync", default="always", choices=["always", "everysec"])
    parser.add_argument("--kind", default="noop", choices=["noop", "nap"])
    parser.add_argument("--ms", type=float, default=1.0)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dtq-bench-"))
    folder.chmod(0o755)
    valkey, postgres = ValkeyServer(folder / "valkey", durable=True), PostgresServer(folder / "postgres")
    rows = []
    try:
        valkey.start()
        redis.Redis.from_url(valkey.url).config_set("appendfsync", args.fsync)
        postgres.start()
        migrate(postgres.url)
        raw = raw_loop(valkey.url, args.jobs)
        print(f"raw redis-py loop: {raw:,.0f} jobs/s")
        for slots in args.slots:
            found = uvloop.run(run(valkey, postgres, args.jobs, slots, args.processes, args.kind, args.ms))
            share = found["rate"] / raw
            print(f"{args.kind}, {args.processes} process(es), {slots} slots: {found['rate']:,.0f} jobs/s = {share:.2f} of raw")
            if args.kind == "nap":
                bare = uvloop.run(bare_naps(slots * args.processes, args.ms))
                found |= {"bare": bare}
                print(f"    bare tasks: {bare:,.0f} sleeps/s; the worker makes {found['rate'] / bare:.2f} of it")
            costs = ", ".join(f"{name} {found[key]:.1f} us" for name, key in COSTS)
            print(f"    CPU a job: {costs}", flush=True)
            rows.append({"slots": slots, "raw": raw, **found})
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if args.out:
        Path(args.out).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    launch(main)
