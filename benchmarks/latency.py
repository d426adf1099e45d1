"""Idle latency and idle CPU, on real processes: submitter, one worker, scheduler, Valkey (appendfsync always), PostgreSQL.

    python benchmarks/latency.py [--samples 200] [--idle 10]

Latency: from just before POST /submit is written to a socket until the handler starts, one job at a time after a random
pause of 20 to 80 ms (both read time.monotonic, one clock for the machine). Idle CPU: share of a core of worker and
scheduler over a time without jobs.
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

import httpx
import psutil
import uvloop
from program import launch, positive

from dtq.config import Settings
from dtq.embedded import PostgresServer, ValkeyServer, free_port
from dtq.queue import Queue
from dtq.storage.migrate import migrate

HERE = Path(__file__).resolve().parent


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """POST one job on a kept connection; the id."""
    body = json.dumps({"type": "stamp", "payload": {"sent": time.monotonic()}}).encode()
    head = b"POST /submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return str(json.loads(await reader.readexactly(length))["id"])


async def latencies(port: int, queue: Queue, samples: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for _ in range(samples):
        await asyncio.sleep(random.uniform(0.02, 0.08))
        job_id = await one(reader, writer)
        await queue.wait(job_id, 10)
        view = await queue.get(job_id)
        assert view is not None
        assert view.result is not None, view
        found.append(float(view.result))
    writer.close()
    return found


async def measure(valkey: str, dsn: str, args: argparse.Namespace) -> dict[str, float]:
    port = free_port()
    env = {
        **os.environ, "REDISADDR": valkey, "DATABASEURL": dsn, "APIADDR": f"127.0.0.1:{port}", "HANDLERS": "worker_process",
        "PYTHONPATH": str(HERE), "LOGLEVEL": "WARNING", "BLOBURL": f"file://{args.folder}/blobs",
    }  # fmt: skip
    processes = {name: subprocess.Popen([sys.executable, "-m", f"dtq_{name}"], env=env) for name in ("submitter", "worker", "scheduler")}
    queue = await Queue.connect(Settings(redisaddr=valkey))
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(300):
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        while not (await queue.stats(["default"]))[0].workers and not await queue.queues():
            await latencies(port, queue, 1)
        await latencies(port, queue, 20)
        found = await latencies(port, queue, args.samples)
        await asyncio.sleep(2)
        idle = {}
        before = {name: psutil.Process(process.pid).cpu_times() for name, process in processes.items()}
        await asyncio.sleep(args.idle)
        for name, process in processes.items():
            now = psutil.Process(process.pid).cpu_times()
            idle[f"idle_{name}_percent"] = (now.user + now.system - before[name].user - before[name].system) / args.idle * 100
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()
        await queue.close()
    return {"p50_ms": percentile(found, 0.5), "p95_ms": percentile(found, 0.95), "p99_ms": percentile(found, 0.99), **idle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=positive, default=200)
    parser.add_argument("--idle", type=float, default=10)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    args.folder = Path(tempfile.mkdtemp(prefix="dtq-bench-"))
    args.folder.chmod(0o755)
    valkey = ValkeyServer(args.folder / "valkey", durable=True)
    postgres = PostgresServer(args.folder / "postgres")
    try:
        valkey.start()
        postgres.start()
        migrate(postgres.url)
        found = uvloop.run(measure(valkey.url, postgres.url, args))
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(args.folder, ignore_errors=True)
    print(f"POST sent to handler started: p50 {found['p50_ms']:.2f} ms, p95 {found['p95_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms")
    print("idle CPU: " + ", ".join(f"{name.split('_')[1]} {value:.2f} %" for name, value in found.items() if name.startswith("idle")))
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    launch(main)
