"""Processes: their CPU time and memory with all their children, how busy the rest of the machine is, and ending them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


def log(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu(pid: int) -> float:
    """User and system seconds of a process and its children, those that have ended too."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(pid: int) -> float:
    """MB of a process and its children: what each has alone, and once what the largest shares; of one process its RSS."""
    alone, shared = 0, 0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            full = process.memory_full_info()
            alone, shared = alone + full.uss, max(shared, full.rss - full.uss)
    return (alone + shared) / 2**20


def end(process: subprocess.Popen[Any], grace_s: float = 6.0) -> None:
    """End a process that was started in a session of its own, with all of its children."""
    family = tree(process.pid)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    kill(process, family)


def kill(process: subprocess.Popen[Any], family: list[psutil.Process] | None = None) -> None:
    """SIGKILL to a process and all of its children at once."""
    for member in family if family is not None else tree(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            if member.is_running():
                member.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def busy() -> float:
    """Seconds that the cores of the machine have been busy so far (Linux; elsewhere 0, and nothing counts as disturbed)."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    fields = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def wait_quiet(limit_s: float) -> None:
    """Wait until the machine is idle: less than 8 % busy over half a second."""
    start, good = time.monotonic(), 0
    while good < 2 and limit_s:
        if time.monotonic() - start > limit_s:
            log(f"machine still busy after {limit_s:g} s: going on")
            return
        before, began = busy(), time.monotonic()
        time.sleep(0.25)
        share = (busy() - before) / (time.monotonic() - began) / CORES
        good = good + 1 if share < 0.08 else 0
