"""`make faults`: runs the fault scenarios in turn, prints a table and writes faults.json.

    python tests/faults/faults.py [SCENARIO ...] [--scale 1.0 | --short | --duration SECONDS] [--jobs N] [--json FILE] [--list]

Exit codes: 0 all promises held, 1 one was broken or a scenario could not be run, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from faultkit.leaving import check_going, heed_signals, leave
from faultkit.patience import be_patient
from faultkit.report import Result, Scenario, table, write_json
from scenarios import ALL

SHORT = 0.1
"""Scale of the run that CI does."""

NORMAL_SECONDS = 2000
"""What a run at scale 1 takes, about: --duration is converted by it."""


def arguments_of(line: Sequence[str] | None = None) -> argparse.Namespace:
    """What a command line asks for, by default that of this process; one that is wrong ends it with 2."""
    parser = argparse.ArgumentParser(description="Break DTQ in every way there is, and check that no accepted job is lost.")
    parser.add_argument("scenario", nargs="*", help="names of scenarios to run; all by default (see --list)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--scale", type=float, default=1.0, help="length of the run; 1 takes half an hour")
    length.add_argument("--short", action="store_const", dest="scale", const=SHORT, help=f"the same as --scale {SHORT}")
    length.add_argument("--duration", type=float, help="a soak of about so many seconds instead; each scenario has a least length")
    parser.add_argument("--jobs", type=int, default=1, help="scenarios run at a time, each in a process of its own; figures want 1")
    parser.add_argument("--json", type=Path, default=Path("faults.json"), help="where the report goes (faults.json)")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    arguments = parser.parse_args(line)
    known = {scenario.name for scenario in ALL}
    if wrong := set(arguments.scenario) - known:
        parser.error(f"no scenario is called {', '.join(sorted(wrong))}; there are {', '.join(sorted(known))}")
    scale = arguments.duration / NORMAL_SECONDS if arguments.duration is not None else arguments.scale
    if not 0 < scale < 10_000:
        parser.error("--scale and --duration take a number above 0")
    if arguments.jobs < 1:
        parser.error("--jobs takes 1 or more")
    arguments.scale = scale
    return arguments


def _run(scenario: Scenario, scale: float) -> list[Result]:
    """Its results; one that says so if it broke off."""
    began = time.monotonic()
    try:
        return scenario.run(scale)
    except Exception as error:  # noqa: BLE001 - the other scenarios are run all the same
        print(traceback.format_exc(), file=sys.stderr)
        return [Result(scenario.name, "broke off", [f"{type(error).__name__}: {error}"], {}, time.monotonic() - began)]


_RUNNING = threading.Lock()
"""Held as a process is started and as all are told to end, so that none is started unseen."""


def _run_apart(scenario: Scenario, scale: float, folder: Path, running: set[subprocess.Popen[bytes]]) -> list[Result]:
    """The same in a process of its own, which stands in ``running`` meanwhile."""
    began = time.monotonic()
    report = folder / f"{scenario.name}.json"
    command = [sys.executable, __file__, scenario.name, "--scale", str(scale), "--json", str(report)]
    with _RUNNING:
        check_going()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        running.add(process)
    code = process.wait()
    running.discard(process)
    try:
        return [Result(**result) for result in json.loads(report.read_text())["results"]]
    except (OSError, ValueError) as error:
        return [Result(scenario.name, "broke off", [f"exit code {code}, and no report: {error}"], {}, time.monotonic() - began)]


def _all_apart(scenarios: list[Scenario], scale: float, jobs: int) -> Iterator[list[Result]]:
    """The results of each, as they come."""
    running: set[subprocess.Popen[bytes]] = set()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_run_apart, scenario, scale, Path(folder), running) for scenario in scenarios]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            leave()
            pool.shutdown(wait=False, cancel_futures=True)
            with _RUNNING:
                for process in list(running):
                    process.terminate()
            raise


def main() -> int:
    """Run what the command line asks for."""
    arguments = arguments_of()
    if arguments.list:
        print("\n".join(scenario.name for scenario in ALL))
        return 0
    heed_signals()
    be_patient()
    chosen = [scenario for scenario in ALL if not arguments.scenario or scenario.name in arguments.scenario]
    apart = arguments.jobs > 1 and len(chosen) > 1
    each = _all_apart(chosen, arguments.scale, arguments.jobs) if apart else (_run(scenario, arguments.scale) for scenario in chosen)
    results: list[Result] = []
    for found in each:
        print(table(found), flush=True)
        results += found
        write_json(arguments.json, results)
    print(f"\n{table(results)}\n")
    broken = [f"{result.scenario}, {result.step}: {violation}" for result in results for violation in result.violations]
    print("\n".join(broken))
    print(f"{len(results)} steps, {len(broken)} violations; the report is in {arguments.json}")
    return 1 if broken or not results else 0


if __name__ == "__main__":
    sys.exit(main())
