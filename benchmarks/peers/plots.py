"""Which plots there are, and what each shows of a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from peers.plot import Bar, Row, svg
from peers.report import AT_MOST_ONCE, marked, percentile, rates, submitted

DAGGER = f"{AT_MOST_ONCE} at most once"
SPREAD = "whisker from the smallest to the largest"
LEFT_OUT = "left out are those that never run them again, or not in the time waited for"
BRIEFLY = {"memory": "Valkey without persistence", "everysec": "appendfsync everysec", "always": "appendfsync always"}
Values = Callable[[dict[str, Any]], Sequence[float]]


def bar(values: Sequence[float]) -> Bar | None:
    return Bar(min(values), statistics.median(values), max(values)) if values else None


def latency_bar(values: Sequence[float]) -> Bar | None:
    """The median, with a whisker to the 99th percentile."""
    middle = percentile(values, 0.5) if values else 0.0
    return Bar(middle, middle, percentile(values, 0.99)) if values else None


def rows(systems: dict[str, Any], *series: Values, make: Callable[[Sequence[float]], Bar | None] = bar, least: bool = False) -> list[Row]:
    """The systems of which something was measured, the best on top; what is rated is the first series."""
    found = [Row(marked(name, system), [make(values(system)) for values in series], name == "dtq") for name, system in systems.items()]
    known = [row for row in found if row.bars[0] is not None]
    return sorted(known, key=lambda row: row.bars[0].middle if row.bars[0] else 0.0, reverse=not least)


def plots(document: dict[str, Any]) -> dict[str, str]:
    """File names and their SVG."""
    found = {}
    for mode, systems in document["passes"].items():
        found[f"peers-throughput-{mode}"] = svg(
            "No-op jobs with one worker process and with two", f"jobs/s; {BRIEFLY[mode]}; {SPREAD}; {DAGGER}", ("one worker", "two"),
            rows(systems, lambda system: rates(system["one"]), lambda system: rates(system["two"])),
        )  # fmt: skip
    systems = document["passes"].get("memory", {})
    if systems:
        found |= {
            "peers-bulk": svg(
                "Submitting in bulk from one process", f"jobs/s; {SPREAD}; {DAGGER}", ("bulk",),
                rows(systems, lambda s: submitted(s["bulk"])),
            ),
            "peers-latency": svg(
                "Idle: submitted until started, median and 99th percentile", f"ms; {DAGGER}", ("latency",),
                rows(systems, lambda s: s["latency_ms"], make=latency_bar, least=True), logarithmic=True,
            ),
            "peers-memory": svg(
                "Memory that a queued job takes in Valkey, payload of 100 bytes", f"bytes; {DAGGER}", ("bytes",),
                rows(systems, lambda s: [s["queued_bytes"]] if "queued_bytes" in s else [], least=True),
            ),
            "peers-recovery": svg(
                "From kill -9 of a worker until its jobs run again", f"s; {LEFT_OUT}", ("seconds",),
                rows(systems, lambda s: [s["recovery"]["last_s"]] if "last_s" in s.get("recovery", {}) else [], least=True),
            ),
        }  # fmt: skip
    return {f"{name}.svg": text for name, text in found.items()}
