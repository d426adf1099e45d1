"""Jobs a second: all are queued, then the workers start.

The clock starts when *every* worker process has run a job (jobs that ran before do not count; the start of interpreters
is outside) and stops when the last job is done *and* the broker holds none, waiting or unacknowledged. A system that also
keeps a row of each finished job in PostgreSQL is timed twice: until then, and until all rows are there.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from peers import records
from peers.processes import CORES, busy, cpu, end
from peers.servers import Servers
from peers.submitter import Failed, Submitter

LATE = 0.6
"""A run counts only if the last worker was there before this share of the jobs had run."""


class Costs:
    """CPU seconds of all parties at one moment."""

    def __init__(self, workers: list[subprocess.Popen[bytes]], servers: Servers) -> None:
        self.at = time.monotonic()
        self.worker = sum(cpu(worker.pid) for worker in workers)
        self.servers = servers.cpu()
        self.own = cpu(os.getpid())  # with everything that the benchmark has started
        self.machine = busy()

    def since(self, before: Costs, jobs: int) -> dict[str, float]:
        """CPU time a job in us, and the share of the machine that others used."""
        used = {f"{name}_us": (seconds - before.servers[name]) / jobs * 1e6 for name, seconds in self.servers.items()}
        others = (self.machine - before.machine) - (self.own - before.own)
        share = max(0.0, others) / max(self.at - before.at, 1e-9) / CORES
        return {"worker_us": (self.worker - before.worker) / jobs * 1e6, **used, "foreign_share": share}


def throughput(
    sub: Submitter, servers: Servers, info: dict[str, Any], n: int, workers: int, path: Path, limit_s: float, nap_ms: float = 0
) -> dict[str, Any]:
    """One run over n jobs that are queued already. Raises Failed."""
    path.unlink(missing_ok=True)
    helpers = sub.start_helpers(info, path)
    running = [sub.start_worker(info["workers"][k], k, path, nap_ms) for k in range(workers)]
    try:
        _until_all_work(running, path, LATE * n, limit_s)
        before, early = Costs([*running, *helpers], servers), records.count(path)
        if early > LATE * n:
            raise Failed(f"the workers did not share the work, or it was too little: {early} of {n} jobs had run when all were there")
        _until_started(running, path, n, limit_s)
        drained = sub.ask("drained", wait=limit_s + 10, timeout=limit_s)
        if drained["left"]:
            raise Failed(f"the broker still holds {drained['left']} jobs after {limit_s:g} s")
        stored = _all_rows(sub, n, limit_s)
        after = Costs([*running, *helpers], servers)
        done = n - early
        last = max(drained["t"], *(record.started for record in records.read(path)))
        found = {"n": n, "counted": done, "rate": done / (last - before.at), **after.since(before, done), **_shares(path, workers)}
        return found if stored is None else found | {"rate_rows": done / (max(stored, last) - before.at)}
    finally:
        for process in (*running, *helpers):
            end(process)


def _until_all_work(running: list[subprocess.Popen[bytes]], path: Path, late: float, limit_s: float) -> None:
    """Wait until each worker has run a job, or more than ``late`` have run, so that those who come count no more."""
    deadline = time.monotonic() + limit_s
    while (count := records.count(path)) <= late and (not count or len({record.worker for record in records.read(path)}) < len(running)):
        _check(running, deadline, path)
        time.sleep(0.005)


def _until_started(running: list[subprocess.Popen[bytes]], path: Path, n: int, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while records.count(path) < n:
        _check(running, deadline, path)
        time.sleep(0.005)


def _check(running: list[subprocess.Popen[bytes]], deadline: float, path: Path) -> None:
    if any(worker.poll() is not None for worker in running):
        raise Failed(f"a worker has ended: {[worker.poll() for worker in running]}")
    if time.monotonic() > deadline:
        raise Failed(f"only {records.count(path)} jobs in the time given")


def _shares(path: Path, workers: int) -> dict[str, Any]:
    found = records.read(path)
    return {
        "duplicates": len(found) - len({record.job for record in found}),
        "share": [sum(record.worker == k for record in found) / len(found) for k in range(workers)],
    }


def _all_rows(sub: Submitter, n: int, limit_s: float) -> float | None:
    """Wait until all rows are in PostgreSQL; when that was, or None for a system that keeps none there."""
    deadline = time.monotonic() + limit_s
    while (answer := sub.ask("rows"))["rows"] is not None:
        if answer["rows"] >= n:
            return float(answer["t"])
        if time.monotonic() > deadline:
            raise Failed(f"only {answer['rows']} of {n} rows are in PostgreSQL after {limit_s:g} s")
        time.sleep(0.005)
    return None
