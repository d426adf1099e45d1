"""DTQ and other queues on this machine, in turn: ``make bench-peers ARGS="--only saq,dtq --quick"``; see README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from peers import records
from peers.passes import PASSES
from peers.plots import plots
from peers.processes import CORES, log, wait_quiet
from peers.report import report
from peers.servers import Servers
from peers.systems import SYSTEMS
from peers.turn import Options, Turn, blank
from worker_throughput import raw_loop

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
RESULTS = HERE.parent / "results"
RAW_JOBS = 60_000


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--only", default="", help=f"systems, comma-separated: {', '.join(SYSTEMS)}")
    parser.add_argument("--rows", default="", help="measurements: seq, one, two, latency, nap1, nap10, queued, recovery (all)")
    parser.add_argument("--passes", default="", help=f"{', '.join(PASSES)} (all; with --quick memory)")
    parser.add_argument("--rounds", type=int, default=3, help="each system's turns; two in the passes after the first")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every system's own number of jobs")
    parser.add_argument("--samples", type=int, default=100, help="latencies a round")
    parser.add_argument("--queued", type=int, default=100_000, help="jobs queued for the memory of one")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for any one measurement")
    parser.add_argument("--recovery", type=float, default=120, help="longest wait for a killed worker's jobs, seconds")
    parser.add_argument("--quiet-wait", type=float, default=60, help="longest wait for a quiet machine before a measurement; 0: none")
    parser.add_argument("--quick", action="store_true", help="try whether it works: one round of few jobs on a busy machine")
    parser.add_argument("--out", type=Path, default=None, help="results/peers.json, with --quick peers-quick.json")
    parser.add_argument("--plots", type=Path, default=None, help="folder of the plots; after a whole run docs/images")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.scale, arguments.samples, arguments.quiet_wait = 1, min(arguments.scale, 0.2), 10, 0.0
        arguments.queued = 2000
    arguments.only = [name for name in arguments.only.split(",") if name] or list(SYSTEMS)
    arguments.passes = [name for name in arguments.passes.split(",") if name] or (["memory"] if arguments.quick else list(PASSES))
    if wrong := [name for name in arguments.only if name not in SYSTEMS] + [name for name in arguments.passes if name not in PASSES]:
        parser.error(f"unknown: {', '.join(wrong)}")
    whole = set(arguments.only) == set(SYSTEMS) and set(arguments.passes) == set(PASSES) and not arguments.rows and not arguments.quick
    arguments.out = arguments.out or RESULTS / ("peers-quick.json" if arguments.quick else "peers.json")
    arguments.plots = arguments.plots or (REPOSITORY / "docs/images" if whole else arguments.out.parent)
    return arguments


def prepared(names: list[str]) -> tuple[Path, list[str]]:
    """Make the environments that are missing. Returns their folder, and the systems that can run."""
    root = Path(os.environ.get("PEERS_DIR") or REPOSITORY / ".data/peers").absolute()
    needed = {SYSTEMS[name].environment for name in names} - {""}
    if missing := sorted(name for name in needed if not (root / name / ".made").exists()):
        log(f"making {', '.join(missing)} in {root}")
        setup = {**os.environ, "PEERS_DIR": str(root), "PYTHON": os.environ.get("PYTHON") or sys.executable}
        subprocess.run(["sh", str(HERE / "setup.sh"), *missing], env=setup, check=False, stdout=sys.stderr)
    able = [name for name in names if not SYSTEMS[name].environment or (root / SYSTEMS[name].environment / ".made").exists()]
    return root, [name for name in able if SYSTEMS[name].environment != "bullmq" or shutil.which("node")]


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
    raw = document["raw"][mode] = []
    for name in names:
        found[name] = blank()
    servers = Servers(mode)
    try:
        document["servers"] = servers.versions
        for number in range(rounds):
            wait_quiet(options.quiet_s)
            raw.append(raw_loop(servers.redis_url, max(1000, int(RAW_JOBS * min(1.0, options.scale)))))
            for name in names:
                began = time.monotonic()
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
    document = json.loads(arguments.out.read_text()) if arguments.out.exists() and len(arguments.only) < len(SYSTEMS) else {}
    document = {"passes": {}, "raw": {}} | document | machine() | {"rounds": arguments.rounds, "scale": arguments.scale}
    options = Options(
        root, logs, scratch, arguments.scale, arguments.samples, arguments.queued, arguments.timeout, arguments.recovery,
        arguments.quiet_wait, frozenset(row for row in arguments.rows.split(",") if row),
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
    return 1 if any(system["errors"] for systems in document["passes"].values() for system in systems.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
