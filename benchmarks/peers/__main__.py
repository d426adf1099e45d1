"""DTQ and other queues on this machine, in turn: ``make bench-peers ARGS="--only saq,dtq --quick"``; see README.md."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from peers import records
from peers.command import parse
from peers.environments import prepared
from peers.plots import plots
from peers.processes import CORES, log, wait_quiet
from peers.report import report
from peers.servers import Servers
from peers.systems import SYSTEMS
from peers.turn import Options, Turn, without
from worker_throughput import raw_loop

RAW_JOBS = 60_000


def machine() -> dict[str, Any]:
    """What the reader must know about where this ran."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "cores": CORES,
        "processor": next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor()),
        "memory_gb": psutil.virtual_memory().total >> 30,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def run_pass(mode: str, names: list[str], rounds: int, options: Options, document: dict[str, Any], out: Path) -> None:
    """All rounds of a pass: in each, every system has its turn, so that a slow hour of the machine hits them all."""
    found = document["passes"].setdefault(mode, {})
    compared = "dtq" in names and (not options.only or "one" in options.only)
    raw = [] if compared else document["raw"].get(mode, [])
    servers = Servers(mode)
    try:
        document["servers"] = servers.versions
        for number in range(rounds):
            if compared:
                wait_quiet(options.quiet_s)
                raw.append(raw_loop(servers.redis_url, max(1000, int(RAW_JOBS * min(1.0, options.scale)))))
            document["raw"][mode] = raw
            for name in names:
                began = time.monotonic()
                if number == 0:
                    found[name] = without(found.get(name, {}), options.only) | {"when": time.strftime("%Y-%m-%d %H:%M")}
                Turn(name, SYSTEMS[name], servers, options, found[name]).run(mode, number)
                log(f"{mode}, round {number + 1} of {rounds}: {name}, {time.monotonic() - began:.0f} s")
                save(document, out)
    finally:
        servers.close()


def save(document: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1))
    out.with_suffix(".md").write_text(report(document))


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything it has started ends with it
    arguments = parse()
    root, names = prepared(arguments.only)
    logs, scratch = root / "logs", records.folder()
    logs.mkdir(parents=True, exist_ok=True)
    document = {} if arguments.whole or not arguments.out.exists() else json.loads(arguments.out.read_text())
    document = {"passes": {}, "raw": {}} | document | machine() | {"rounds": arguments.rounds, "scale": arguments.scale}
    options = Options(
        root, logs, scratch, arguments.scale, arguments.samples, arguments.queued, arguments.timeout, arguments.recovery,
        arguments.quiet_wait, frozenset(arguments.rows),
    )  # fmt: skip
    began = time.monotonic()
    try:
        for mode in arguments.passes:
            run_pass(mode, names, arguments.rounds if mode == "memory" else min(2, arguments.rounds), options, document, arguments.out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    arguments.plots.mkdir(parents=True, exist_ok=True)
    for name, text in plots(document).items():
        (arguments.plots / name).write_text(text)
    print(report(document))
    log(f"{time.monotonic() - began:.0f} s; {arguments.out} and the table beside it; plots: {arguments.plots}; stderr of processes: {logs}")
    measured = (document["passes"][mode][name] for mode in arguments.passes for name in names)
    return 1 if any(error["failed"] for system in measured for error in system["errors"]) else 0


if __name__ == "__main__":
    sys.exit(main())
