"""What many schedules cost: 1,000, 10,000 and 100,000 of them, with one scheduler.

    python benchmarks/scale_schedules.py [--schedules 1000,10000,100000] [--idle 10]

Put: schedules a second through ``ScheduleStore.put`` by 32 concurrent callers, as the operator writes them, and bytes of
Valkey for each. Idle: CPU of scheduler and Valkey, share of a core, while none is due (all are for New Year). Then all of
them are changed to be due at the same minute: seconds from that minute until the first and the last job is submitted, and
the rate in between. Valkey syncs its append-only file at every write.
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

import psutil
import uvloop
from program import launch, numbers

from dtq.config import Settings
from dtq.embedded import PostgresServer, ValkeyServer, free_port
from dtq.queue import Queue
from dtq.schedule.spec import ScheduleSpec, parse_spec
from dtq.schedule.store import ScheduleStore
from dtq.storage.migrate import migrate

CALLERS = 32


def cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def spec(line: str) -> ScheduleSpec:
    text = {"schedule": line, "jobTemplate": {"type": "noop", "payload": {"x": "a" * 92}}}
    return parse_spec(text)


async def put_all(store: ScheduleStore, count: int, line: str) -> float:
    """Seconds."""
    wanted = spec(line)
    names = iter(range(count))

    async def caller() -> None:
        for n in names:
            await store.put(f"bench.schedule-{n}", wanted)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return time.perf_counter() - began


async def fired(queue: Queue) -> int:
    [stats] = await queue.stats(["default"])
    return stats.ready


async def all_due(queue: Queue, store: ScheduleStore, count: int) -> tuple[float, float]:
    """Seconds from the minute at which all are due until the first job and until the last."""
    minute = int(time.time() + 90 + count / 1000) // 60 * 60
    at = time.gmtime(minute)
    await put_all(store, count, f"{at.tm_min} {at.tm_hour} * * *")
    assert time.time() < minute - 1, "putting them took too long"
    await asyncio.sleep(minute - time.time())
    while not await fired(queue):
        await asyncio.sleep(0.01)
    first = time.time() - minute
    while await fired(queue) < count:
        await asyncio.sleep(0.1)
    return first, time.time() - minute


async def measure(valkey: ValkeyServer, dsn: str, count: int, idle_s: float) -> dict[str, float]:
    assert valkey.pid is not None
    queue = await Queue.connect(Settings(redisaddr=valkey.url))
    await queue.client.flushall()
    store = ScheduleStore(queue.client)
    empty = (await queue.client.info("memory"))["used_memory"]
    put_s = await put_all(store, count, "0 0 1 1 *")
    used = (await queue.client.info("memory"))["used_memory"] - empty
    env = {**os.environ, "REDISADDR": valkey.url, "DATABASEURL": dsn, "LOGLEVEL": "WARNING", "METRICSADDR": f"127.0.0.1:{free_port()}"}
    scheduler = subprocess.Popen([sys.executable, "-m", "dtq_scheduler"], env=env)
    try:
        await asyncio.sleep(5)
        before = cpu(scheduler.pid), cpu(valkey.pid)
        await asyncio.sleep(idle_s)
        after = cpu(scheduler.pid), cpu(valkey.pid)
        first, last = await all_due(queue, store, count)
    finally:
        scheduler.terminate()
        scheduler.wait()
        await queue.close()
    return {
        "schedules": count,
        "put_rate": count / put_s,
        "bytes": used / count,
        "idle_scheduler": (after[0] - before[0]) / idle_s * 100,
        "idle_valkey": (after[1] - before[1]) / idle_s * 100,
        "first_s": first,
        "last_s": last,
        "fire_rate": count / max(last - first, 0.001),
    }


async def run(valkey: ValkeyServer, dsn: str, args: argparse.Namespace) -> list[dict[str, float]]:
    found = []
    for count in args.schedules:
        one = await measure(valkey, dsn, count, args.idle)
        found.append(one)
        print(
            f"{count:>7,} schedules: put {one['put_rate']:,.0f}/s, {one['bytes']:,.0f} bytes each; idle CPU scheduler "
            f"{one['idle_scheduler']:.1f} %, Valkey {one['idle_valkey']:.1f} %\n"
            f"        all due at once: first job after {one['first_s']:.2f} s, last after {one['last_s']:.1f} s, {one['fire_rate']:,.0f}/s",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=numbers, default="1000,10000,100000")
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
        found = uvloop.run(run(valkey, postgres.url, args))
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    launch(main)
