"""What the fault tests found: a table for people, faults.json for programs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Result", "Scenario", "machine", "table", "write_json"]


class Result(NamedTuple):
    """One line of the report: a scenario's step, what was asked and whether it held, and the figures measured."""

    scenario: str
    """Its name on the command line, such as "crashpoints"."""
    step: str
    """Such as "worker: finish, after"."""
    violations: list[str]
    """What the checker found; empty when all holds."""
    figures: dict[str, Any]
    """Such as {"accepted": 1200, "executed twice": 3, "kills": 40}; durations in seconds."""
    seconds: float
    """How long it took."""


class Scenario(NamedTuple):
    """A part of the fault suite that can be run by itself."""

    name: str
    run: Callable[[float], list[Result]]
    """Runs it; the argument scales its length: 1 is the normal run of some minutes, 0.1 or so is the short one of CI, more is a soak."""


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _figure(name: str, value: object) -> str:
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"


def table(results: list[Result]) -> str:
    """The results as aligned text, a line each."""
    lines = []
    for result in results:
        verdict = f"{len(result.violations)} VIOLATIONS" if result.violations else "ok"
        figures = ", ".join(_figure(name, value) for name, value in result.figures.items())
        lines.append((result.scenario, result.step, verdict, f"{result.seconds:.1f} s", figures))
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(4)]
    return "\n".join("  ".join([*map(str.ljust, line[:4], widths), line[4]]).rstrip() for line in lines)


def write_json(path: Path, results: list[Result]) -> None:
    """Write everything, the violations in full."""
    data = {"machine": machine(), "results": [result._asdict() for result in results]}
    path.write_text(json.dumps(data, indent=1, default=str) + "\n")
