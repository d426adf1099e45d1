"""What was found, as Markdown. Pure: no file is read or written here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from peers.passes import PASSES

AT_MOST_ONCE = "†"
NONE = "-"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median (smallest-largest); of one value that value."""
    if not values:
        return NONE
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which so large a share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def marked(name: str, found: dict[str, Any]) -> str:
    """The system's name, with a dagger if it may lose the job of a killed worker."""
    return name + (f" {AT_MOST_ONCE}" if found.get("info", {}).get("delivery") == "at most once" else "")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *rows)]


def rates(runs: Sequence[dict[str, Any]], key: str = "rate") -> list[float]:
    return [run[key] for run in runs if key in run]


def submitted(runs: Sequence[dict[str, Any]]) -> list[float]:
    return [run["n"] / run["s"] for run in runs]


def latency(values: Sequence[float]) -> str:
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f}" if values else NONE


def naps_by_slots(found: dict[str, Any], ms: str) -> dict[int, list[float]]:
    """The rates of jobs that sleep, by the slots they had."""
    by_slots: dict[int, list[float]] = {}
    for run in found.get("naps", {}).get(ms, []):
        by_slots.setdefault(run["slots"], []).append(run["rate"])
    return by_slots


def best_nap(found: dict[str, Any], ms: str) -> tuple[int, list[float]]:
    """The slots with the highest median, and the rates at them; (0, []) when nothing was measured."""
    return max(naps_by_slots(found, ms).items(), key=lambda item: statistics.median(item[1]), default=(0, []))


def share(slots: int, seen: Sequence[float], ms: str) -> float:
    """Of what so many slots could do at the very most."""
    return statistics.median(seen) / (slots * 1000 / float(ms))


def nap(found: dict[str, Any], ms: str) -> str:
    """Rate at the best slots, and its share of what the slots allow."""
    slots, seen = best_nap(found, ms)
    return f"{spread(seen)} at {slots}, {share(slots, seen, ms):.2f}" if seen else NONE


def naps_at_each(found: dict[str, Any], ms: str) -> str:
    """Rate and share at every number of slots that was tried."""
    by_slots = naps_by_slots(found, ms)
    each = [f"{slots}: {statistics.median(seen):,.0f} ({share(slots, seen, ms):.2f})" for slots, seen in sorted(by_slots.items())]
    return ", ".join(each) or NONE


def recovered(found: dict[str, Any]) -> str:
    """Seconds until the last job of a killed worker runs again, or what is documented."""
    info = found.get("info", {})
    if measured := found.get("recovery"):
        late = "missing" in measured
        return f"> {measured['waited_s']:g} ({measured['missing']} of {measured['jobs']})" if late else f"{measured['last_s']:.1f}"
    if info.get("delivery") == "at most once":
        return "never"
    return f"{info['recovers_after']:,.0f} (documented)" if info.get("recovers_after") else NONE


def throughput_table(systems: dict[str, Any], raw: Sequence[float]) -> list[str]:
    rows = [
        [
            marked(name, found), spread(rates(found["one"])), spread(rates(found["two"])),
            "; ".join(spread(seen) for kind in ("one", "two") if (seen := rates(found[kind], "rate_rows"))) or NONE,
            spread(submitted(found["bulk"])), spread(submitted(found["seq"])),
        ]
        for name, found in systems.items()
    ]  # fmt: skip
    titles = [
        "system",
        "1 worker jobs/s",
        "2 workers jobs/s",
        "until all rows are stored, 1; 2 workers",
        "bulk submit/s",
        "one by one/s",
    ]
    line = f"Raw redis-py claim, result, acknowledge loop, 100 a pipeline: {spread(raw)} jobs/s"
    ours = rates(systems.get("dtq", {}).get("one", []))
    if raw and ours:
        line += f"; dtq with one worker makes {statistics.median(ours) / statistics.median(raw):.2f} of it"
    return [*table(titles, rows), "", f"{line}."]


def single_table(systems: dict[str, Any]) -> list[str]:
    rows = [
        [
            marked(name, found), latency(found["latency_ms"]), nap(found, "1"), nap(found, "10"), spread(found["idle_mb"], 0),
            f"{found['queued_bytes']:,.0f}" if "queued_bytes" in found else NONE, recovered(found),
        ]
        for name, found in systems.items()
    ]  # fmt: skip
    titles = ["system", "idle latency ms p50 / p99", "1 ms jobs/s at slots, share", "10 ms jobs/s at slots, share"]
    return table([*titles, "idle worker MB", "bytes a queued job", "s to recover from kill -9"], rows)


def nap_table(systems: dict[str, Any]) -> list[str]:
    rows = [[marked(name, found), naps_at_each(found, "1"), naps_at_each(found, "10")] for name, found in systems.items()]
    return table(["system", "1 ms", "10 ms"], rows)


def cost_table(systems: dict[str, Any]) -> list[str]:
    keys = ("worker_us", "redis_us", "postgres_us")
    rows = [[marked(name, found), *(spread(rates(found["one"], key), 1) for key in keys)] for name, found in systems.items()]
    return table(["system", "worker us", "Valkey us", "PostgreSQL us"], rows)


def settings_table(systems: dict[str, Any]) -> list[str]:
    rows = []
    for name, found in systems.items():
        if info := found.get("info"):
            versions = ", ".join(f"{package} {version}" for package, version in info["versions"].items())
            facts = (info[key] for key in ("delivery", "guarantee", "results", "worker_note", "bulk_note"))
            rows.append([marked(name, found), found.get("when", ""), versions, *facts])
    return table(["system", "measured", "versions", "delivery", "how", "kept of a finished job", "worker", "bulk"], rows)


def report(document: dict[str, Any]) -> str:
    """The whole report."""
    lines = [
        "# DTQ and other queues", "",
        f"{document['when']}: {document['processor']}, {document['cores']} cores, {document['memory_gb']} GB, {document['system']}, "
        f"Python {document['python']}, {document.get('servers', '')}; {document['rounds']} rounds, jobs x {document['scale']:g}.",
        f"Median (smallest-largest). {AT_MOST_ONCE} at most once: in this setting the job of a killed worker is lost.", "",
    ]  # fmt: skip
    for mode, systems in document["passes"].items():
        lines += [f"## {mode}: {PASSES[mode]}", "", *throughput_table(systems, document["raw"].get(mode, [])), ""]
        lines += ["CPU time a job, one worker:", "", *cost_table(systems), ""]
        if mode == "memory":
            lines += [
                *single_table(systems),
                "",
                "Jobs that sleep, at each number of slots tried: jobs/s (share).",
                "",
                *nap_table(systems),
                "",
            ]
    first: dict[str, Any] = next(iter(document["passes"].values()), {})
    lines += ["## Settings", "", *settings_table(first), ""]
    problems = [
        f"- {mode}, {name}, {error['row']}: {(error['text'].splitlines() or [''])[0]}"
        for mode, systems in document["passes"].items()
        for name, found in systems.items()
        for error in found["errors"]
    ]
    return "\n".join([*lines, *(["## Failed or repeated", "", *problems, ""] if problems else [])])
