"""Where the time goes on a hot path: samples of the service and of Valkey while a benchmark keeps them busy.

    python benchmarks/profile_paths.py worker|submit|latency [--seconds 5] [--top 25]

``worker``: worker_throughput.py, no-op jobs at 100 slots. ``submit``: submit_http.py. ``latency``: latency.py, one job at a
time. Needs Linux, ``perf`` and ``py-spy`` on PATH (``pip install py-spy``), and the right to trace other processes. Prints

- the service's own time by Python function (py-spy; what a function spends in C is its own, waiting is left out),
- Valkey's CPU by symbol (perf record), and both processes' system calls with the time spent in each (perf trace),
- what Valkey says itself: calls and microseconds a call of each command (INFO commandstats), the slowest scripts (SLOWLOG),
  and the latest and worst of its latency events (LATENCY LATEST).

The samplers slow what they look at: read shares, not rates.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import redis

T = TypeVar("T")
HERE = Path(__file__).resolve().parent
BUSY_PERCENT = 10
RATE = 250
SLOW_US = 2000

PATHS: dict[str, tuple[list[str], str]] = {
    "worker": (["worker_throughput.py", "--jobs", "400000", "--slots", "100"], "worker_process.py"),
    "submit": (["submit_http.py", "--seconds", "20", "--rounds", "1"], "--serve dtq"),
    "latency": (["latency.py", "--samples", "600", "--idle", "1"], "dtq_worker"),
}


def children(pid: int) -> Iterator[tuple[psutil.Process, str]]:
    """All that a process has started, with their command lines."""
    for process in psutil.Process(pid).children(recursive=True):
        try:
            yield process, " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue


def until(what: str, look: Callable[[], T | None]) -> T:
    """The first answer of ``look`` that is true."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise SystemExit(f"not within 120 s: {what}")


def find(pid: int, part: str) -> psutil.Process:
    """What has been started with this in its command line."""
    return until(f"{part} runs", lambda: next((process for process, line in children(pid) if part in line), None))


def busy(*processes: psutil.Process) -> bool:
    """Whether all of them are at once: a service that is starting is, but its Valkey is not."""
    return all(process.cpu_percent(0.2) > BUSY_PERCENT for process in processes)


def shares(counts: Counter[str], top: int) -> None:
    total = sum(counts.values())
    for name, count in counts.most_common(top):
        print(f"  {count / total * 100:5.1f} %  {name}")


def python_time(raw: Path, top: int) -> None:
    """Own time by function, of py-spy's raw lines ``frame;frame;frame COUNT``."""
    own: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        own[stack.split(";")[-1].rpartition(":")[0] or stack] += int(count)
    print(f"\n-- Python, own time ({sum(own.values())} samples)")
    shares(own, top)


def symbols(recorded: Path, top: int) -> None:
    """CPU by symbol, of ``perf record``."""
    report = subprocess.run(
        ["perf", "report", "--stdio", "--no-children", "--sort", "dso,symbol", "-i", str(recorded)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line.rstrip() for line in report.stdout.splitlines() if line.strip() and not line.startswith("#")]
    print("\n-- Valkey, CPU by symbol")
    print("\n".join(f"  {line.strip()}" for line in lines[:top]))


def told(client: Any, top: int) -> None:
    print("\n-- Valkey, commands (scripts count the commands that they call once more)")
    stats = client.info("commandstats")
    for name, one in sorted(stats.items(), key=lambda item: -item[1]["usec"])[:top]:
        count, us = one["calls"], one["usec"]
        if count:
            print(f"  {name.removeprefix('cmdstat_'):<14} {count:>8} calls  {us / count:9.1f} us each  {us / 1000:10.1f} ms")
    print(f"\n-- Valkey, SLOWLOG above {SLOW_US} us")
    for entry in client.slowlog_get(5):
        print(f"  {entry['duration']} us  {str(entry['command'])[:90]}")
    print("\n-- Valkey, LATENCY LATEST (event, when, latest ms, worst ms)")
    for event in client.execute_command("LATENCY", "LATEST"):
        print("  ", event)


def profile(benchmark: int, target: str, args: argparse.Namespace, folder: Path) -> None:
    service, valkey = find(benchmark, target), find(benchmark, "valkey-server")
    port = next(one.laddr.port for one in valkey.net_connections() if one.status == psutil.CONN_LISTEN)
    if args.path == "latency":
        time.sleep(5)  # its warm-up
    else:
        until(f"{target} and Valkey are busy", lambda: busy(service, valkey))
    client: Any = redis.Redis(port=port, decode_responses=True)
    client.config_set("slowlog-log-slower-than", SLOW_US)
    client.config_set("latency-monitor-threshold", 1)
    client.config_resetstat()
    window, pid = str(args.seconds), str(service.pid)
    raw, recorded = folder / "service.raw", folder / "valkey.perf"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    samplers = [
        subprocess.Popen(["py-spy", "record", "-p", pid, "-d", window, "-r", str(RATE), "-f", "raw", "-o", str(raw)], **quiet),
        subprocess.Popen(["perf", "record", "-F", "999", "-p", str(valkey.pid), "-o", str(recorded), "--", "sleep", window], **quiet),
    ]
    for sampler in samplers:
        sampler.wait()
    told(client, 14)
    python_time(raw, args.top)
    symbols(recorded, args.top)
    for name, one in (("the service", pid), ("Valkey", str(valkey.pid))):
        traced = subprocess.run(
            ["perf", "trace", "-s", "-p", one, "--", "sleep", str(max(1, args.seconds // 2))], capture_output=True, text=True, check=False
        )
        print(f"\n-- system calls of {name} (calls, errors, total, min, avg, max in ms)")
        lines = [line for line in traced.stderr.splitlines() if line.strip()]
        print("\n".join(lines[: args.top]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", choices=PATHS)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--top", type=int, default=25)
    args = parser.parse_args()
    missing = [program for program in ("perf", "py-spy") if shutil.which(program) is None]
    if missing:
        print(f"not on PATH: {', '.join(missing)}", file=sys.stderr)
        return 2
    command, target = PATHS[args.path]
    with tempfile.TemporaryDirectory(prefix="dtq-profile-") as folder:
        benchmark = subprocess.Popen([sys.executable, str(HERE / command[0]), *command[1:]], env=os.environ)
        try:
            profile(benchmark.pid, target, args, Path(folder))
        finally:
            left = psutil.Process(benchmark.pid).children(recursive=True) if benchmark.poll() is None else []
            benchmark.terminate()
            benchmark.wait()
            for process in left:  # a benchmark that is cut short leaves its servers and services
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
