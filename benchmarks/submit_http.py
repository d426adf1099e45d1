"""POST /submit of one submitter process, against a bare FastAPI endpoint with the same body that stores nothing.

    python benchmarks/submit_http.py [--seconds 3] [--rounds 3] [--connections 64]

Both are served by uvicorn with uvloop and httptools, and asked over the same keep-alive connections; rounds alternate,
and the median of each counts. The submitter writes to a Valkey that syncs its append-only file before it answers, so a
202 is durable. ``memory`` is the submitter on a queue that stores nothing: what the HTTP part alone can do.
The load comes from this process: client, server and Valkey share the machine's cores. On a machine that does other things
too the rates scatter; the server's CPU time a request, printed beside them, does so much less.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from program import launch, positive

from dtq.embedded import ValkeyServer

BODY = b'{"type":"email","payload":{"to":"user@example.com","subject":"Test Email","body":"This is a test email."}}'


# ---------------------------------------------------------------------- the servers, each in a process of its own


class MemoryQueue:
    """Answers like the queue and keeps nothing."""

    cluster = False

    def __init__(self) -> None:
        self.count = 0
        self.calls = 0

    async def submit(self, jobs: Sequence[Any]) -> list[Any]:
        from dtq.job import State
        from dtq.queue import Submitted

        await asyncio.sleep(0)
        self.calls += 1
        self.count += len(jobs)
        return [Submitted(f"0193f0c2a1b{self.count:05x}n-{job.queue}", State.QUEUED) for job in jobs]


def bare_app() -> Any:
    from fastapi import FastAPI

    from dtq.jobs import BUILTIN
    from dtq.requests import Requests

    app = FastAPI()
    union = Requests({job_type.name: job_type for job_type in BUILTIN}).union

    async def submit(body: Any) -> dict[str, str]:
        return {"id": "0193f0c2a1b00000n-default", "state": "queued", "queue": body.queue, "type": body.type, "priority": body.priority}

    submit.__annotations__["body"] = union
    app.post("/submit", status_code=202)(submit)
    return app


async def serve(kind: str, port: int, redis_url: str) -> None:
    import uvicorn

    from dtq.blobs import BlobStore
    from dtq.config import load_settings
    from dtq.queue import Queue
    from dtq.registry import load_registry
    from dtq.schedule.store import ScheduleStore
    from dtq.storage import Store
    from dtq_submitter.app import create_app
    from dtq_submitter.protocol import Limits, bounded

    http: Any = "httptools"
    if kind == "bare":
        app = bare_app()
    else:
        settings = load_settings(redisaddr=redis_url, bloburl="memory:///")
        queue: Any = MemoryQueue() if kind == "memory" else await Queue.connect(settings)
        schedules = ScheduleStore(getattr(queue, "client", None))
        app = create_app(
            settings, queue, Store(settings.databaseurl), schedules, load_registry(["dtq.jobs"]), BlobStore.from_url("memory:///")
        )
        http = bounded(Limits(settings.requestseconds, settings.maxconnections, app.front.refused))
    options: dict[str, Any] = {
        "http": http,
        "loop": "none",
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "log_config": None,
    }
    await uvicorn.Server(uvicorn.Config(app, port=port, **options)).serve()


# ---------------------------------------------------------------------- the load


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, load: Load) -> None:
        self.request, self.load = request, load
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self.buffer.lower().find(b"content-length:")
        length = int(self.buffer[at + 15 : self.buffer.find(b"\r", at)])
        if len(self.buffer) < head + 4 + length:
            return
        self.load.answered(self.buffer[9:12], time.perf_counter() - self.began)
        self.buffer = b""
        if self.load.on:
            self.ask()


class Load:
    """What the connections saw."""

    def __init__(self) -> None:
        self.on = True
        self.times: list[float] = []
        self.wrong: set[bytes] = set()

    def answered(self, status: bytes, seconds: float) -> None:
        self.times.append(seconds)
        if status != b"202":
            self.wrong.add(status)


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used (proc(5): utime and stime of /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(port: int, connections: int, seconds: float) -> tuple[float, float, float, int]:
    """Requests a second, the p50 and p99 latency in ms, and how many requests were answered in all."""
    head = f"POST /submit HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    found = Load()
    loop = asyncio.get_running_loop()
    clients = [await loop.create_connection(lambda: Client(head.encode() + BODY, found), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(0.3)  # the first requests warm the server up
    warm = len(found.times)
    found.times.clear()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took, times = time.perf_counter() - began, sorted(found.times)
    found.on = False
    for transport, _ in clients:
        transport.close()
    if found.wrong:
        raise SystemExit(f"answers other than 202: {found.wrong}")
    return len(times) / took, times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000, len(times) + warm


def start(kind: str, redis_url: str) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    process = subprocess.Popen([sys.executable, __file__, "--serve", kind, "--port", str(port), "--redis", redis_url])
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process, port
    raise SystemExit(f"the server {kind} did not start")


def measure(kinds: list[str], options: argparse.Namespace) -> None:
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    costs: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        valkey = ValkeyServer(folder, durable=True)
        valkey.start()
        servers: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
        try:
            for kind in kinds:
                servers[kind] = start(kind, valkey.url)
            for _ in range(options.rounds):
                for kind in kinds:
                    process, port = servers[kind]
                    used = cpu_seconds(process.pid)
                    rate, p50, p99, count = uvloop.run(load(port, options.connections, options.seconds))
                    cost = (cpu_seconds(process.pid) - used) / count * 1e6
                    rates[kind].append(rate)
                    costs[kind].append(cost)
                    print(f"{kind:8} {rate:8,.0f} requests/s  {cost:5.0f} us CPU  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms", flush=True)
        finally:
            for process, _ in servers.values():
                process.terminate()
                process.wait()
            valkey.stop()
    base = statistics.median(rates[kinds[0]])
    print(f"\nmedians, {options.connections} connections, {os.cpu_count()} cores")
    for kind in kinds:
        rate, cost = statistics.median(rates[kind]), statistics.median(costs[kind])
        print(f"{kind:8} {rate:8,.0f} requests/s   {rate / base:5.2f} x {kinds[0]}   {cost:5.0f} us CPU a request in the server")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--connections", type=positive, default=64)
    parser.add_argument("--serve", choices=["bare", "dtq", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--redis", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve, options.port, options.redis or "127.0.0.1:6379"))
    else:
        measure(["bare", "dtq", "memory"], options)


if __name__ == "__main__":
    launch(main)
