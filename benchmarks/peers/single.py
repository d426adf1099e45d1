"""What is measured with few jobs: idle latency and the memory of an idle worker, recovery after kill -9, memory of a queued job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from peers import records
from peers.processes import end, kill, memory
from peers.servers import Servers
from peers.submitter import Failed, Submitter

STUCK_MS = 600_000
"""How long the jobs of the worker that is to be killed sleep: longer than any wait for them."""
FILL_S = 600
"""Some clients submit only some hundred jobs a second."""
PAYLOAD = 100
"""Bytes of the text in a queued job."""


def latency(sub: Submitter, info: dict[str, Any], samples: int, seed: int, path: Path, limit_s: float) -> dict[str, Any]:
    """Milliseconds from the submit call to the start of the handler, one job at a time; MB of the idle worker afterwards."""
    path.unlink(missing_ok=True)
    helpers = sub.start_helpers(info, path)
    worker = sub.start_worker(info["workers"][0], 0, path)
    try:
        sub.ask("lat", wait=limit_s, n=min(10, samples), log=str(path), seed=0)  # waits for the worker, and warms it up
        warm = records.count(path)
        sub.ask("lat", wait=limit_s, n=samples, log=str(path), seed=seed)
        found = [(record.started - record.submitted) * 1000 for record in records.read(path)[warm:]]
        return {"ms": found, "idle_mb": memory(worker.pid)}
    finally:
        for process in (worker, *helpers):
            end(process)


def recovery(sub: Submitter, info: dict[str, Any], path: Path, limit_s: float) -> dict[str, float]:
    """Seconds from kill -9 of a worker with running jobs until a second worker, already there, has started them again.

    When that takes longer than ``limit_s``: how many are missing.
    """
    path.unlink(missing_ok=True)
    helpers = sub.start_helpers(info, path)
    victim, heir = sub.start_worker(info["workers"][0], 0, path, STUCK_MS), sub.start_worker(info["workers"][1], 1, path)
    try:
        _submit_until_both_work(sub, path)
        stuck = {record.job for record in records.read(path) if record.worker == 0}
        killed = time.monotonic()
        kill(victim)
        while missing := stuck - {record.job for record in records.read(path) if record.worker == 1}:
            if time.monotonic() - killed > limit_s:
                return {"waited_s": limit_s, "missing": len(missing), "jobs": len(stuck)}
            time.sleep(0.005)
        again = [record.started - killed for record in records.read(path) if record.worker == 1 and record.job in stuck]
        return {"first_s": min(again), "last_s": max(again), "jobs": len(stuck)}
    finally:
        for process in (victim, heir, *helpers):
            kill(process)


def _submit_until_both_work(sub: Submitter, path: Path) -> None:
    """Jobs one after another. Both workers were started together: the first jobs must not run into their time limits before the kill."""
    deadline, i = time.monotonic() + 60, 0
    while {record.worker for record in records.read(path)} != {0, 1}:
        if time.monotonic() > deadline:
            raise Failed("not both workers run jobs")
        sub.ask("one", i=i)
        i += 1
        time.sleep(0.05)


def queued_memory(sub: Submitter, servers: Servers, jobs: int, empty: int, limit_s: float) -> float:
    """Bytes of Valkey that a queued job takes, with a text of 100 bytes as payload; ``empty`` is used_memory without jobs."""
    sub.ask("fill", wait=max(limit_s, FILL_S), n=jobs, p="x" * PAYLOAD)
    sub.close()  # its connections' buffers would count
    return (servers.used_memory() - empty) / jobs
