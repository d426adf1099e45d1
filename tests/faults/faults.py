"""`make faults`: runs the fault scenarios in turn, prints a table and writes faults.json.

    python tests/faults/faults.py [SCENARIO ...] [--scale 1.0 | --short | --duration SECONDS] [--json FILE] [--list]

Exit codes: 0 all promises held, 1 one was broken or a scenario could not be run, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from faultkit.report import Result, Scenario, table, write_json
from scenarios import ALL

SHORT = 0.1
"""Scale of the run that CI does."""

NORMAL_SECONDS = 900
"""What a run at scale 1 takes, about: --duration is converted by it."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Break DTQ in every way there is, and check that no accepted job is lost.")
    parser.add_argument("scenario", nargs="*", help="names of scenarios to run; all by default (see --list)")
    parser.add_argument("--scale", type=float, default=1.0, help="length of the run; 1 takes some minutes")
    parser.add_argument("--short", action="store_const", dest="scale", const=SHORT, help=f"the same as --scale {SHORT}")
    parser.add_argument("--duration", type=float, help="a soak of about so many seconds instead")
    parser.add_argument("--json", type=Path, default=Path("faults.json"), help="where the report goes (faults.json)")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    arguments = parser.parse_args()
    known = {scenario.name for scenario in ALL}
    if wrong := set(arguments.scenario) - known:
        parser.error(f"no scenario is called {', '.join(sorted(wrong))}; there are {', '.join(sorted(known))}")
    scale = arguments.duration / NORMAL_SECONDS if arguments.duration is not None else arguments.scale
    if not 0 < scale < 10_000:
        parser.error("--scale and --duration take a number above 0")
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


def main() -> int:
    """Run what the command line asks for."""
    arguments = _arguments()
    if arguments.list:
        print("\n".join(scenario.name for scenario in ALL))
        return 0
    results: list[Result] = []
    for scenario in ALL:
        if arguments.scenario and scenario.name not in arguments.scenario:
            continue
        found = _run(scenario, arguments.scale)
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
