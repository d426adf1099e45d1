"""The command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from peers.passes import PASSES
from peers.systems import SYSTEMS
from peers.turn import ROWS

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks/results"
QUICK_SCALE = 0.5
"""Fewer jobs would be done by DTQ's first worker before its second has started."""
WHOLE_ROUNDS = 3
"""Rounds from which a run over everything replaces the results and plots there are."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers", description="DTQ and other queues, in turn; see benchmarks/peers/README.md")
    parser.add_argument("--only", default="", help=f"systems, comma-separated: {', '.join(SYSTEMS)}")
    parser.add_argument("--rows", default="", help=f"measurements: {', '.join(ROWS)} (all); what else the results hold is kept")
    parser.add_argument("--passes", default="", help=f"{', '.join(PASSES)} (all; with --quick memory)")
    parser.add_argument("--rounds", type=int, default=3, help="each system's turns; two in the passes after the first")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every system's own number of jobs")
    parser.add_argument("--samples", type=int, default=100, help="latencies a round")
    parser.add_argument("--queued", type=int, default=100_000, help="jobs queued for the memory of one")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for any one measurement")
    parser.add_argument("--recovery", type=float, default=200, help="longest wait for a killed worker's jobs, seconds")
    parser.add_argument("--quiet-wait", type=float, default=60, help="longest wait for a quiet machine before a measurement; 0: none")
    parser.add_argument("--quick", action="store_true", help="try whether it works: one round of few jobs on a busy machine")
    parser.add_argument("--out", type=Path, default=None, help="results/peers.json, with --quick peers-quick.json")
    parser.add_argument("--plots", type=Path, default=None, help="folder of the plots; after a whole run docs/images")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.scale, arguments.samples, arguments.quiet_wait = 1, min(arguments.scale, QUICK_SCALE), 10, 0.0
        arguments.queued = 2000
    arguments.only = [name.strip() for name in arguments.only.split(",") if name.strip()] or list(SYSTEMS)
    arguments.passes = [name for name in arguments.passes.split(",") if name] or (["memory"] if arguments.quick else list(PASSES))
    arguments.rows = [row for row in arguments.rows.split(",") if row]
    for names, known in ((arguments.only, SYSTEMS), (arguments.passes, PASSES), (arguments.rows, ROWS)):
        if wrong := [name for name in names if name not in known]:
            parser.error(f"unknown: {', '.join(wrong)}; there are {', '.join(known)}")
    arguments.whole = (
        set(arguments.only) == set(SYSTEMS) and set(arguments.passes) == set(PASSES) and not arguments.rows and not arguments.quick
        and arguments.rounds >= WHOLE_ROUNDS and arguments.scale >= 1
    )  # fmt: skip
    arguments.out = arguments.out or RESULTS / ("peers-quick.json" if arguments.quick else "peers.json")
    arguments.plots = arguments.plots or (REPOSITORY / "docs/images" if arguments.whole else arguments.out.parent)
    return arguments
