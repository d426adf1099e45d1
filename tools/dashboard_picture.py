"""Draw the Grafana dashboard, with what a Prometheus answers to its panels' queries.

    python tools/dashboard_picture.py http://127.0.0.1:9090 MINUTES docs/images/dashboard.png

Needs matplotlib and Pillow, in an environment of its own (pip install matplotlib). The picture in docs/ was made with the Prometheus of
``python tests/handlers/monitored_stack.py 900``.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

DASHBOARD = Path(__file__).parents[1] / "charts" / "dtq" / "monitoring" / "dashboard.json"
COLORS = ("#3b82c4", "#e0842f", "#4a9d5b", "#b0457b", "#7d6bc1", "#c9a227", "#3aa7a3", "#8c6d5a", "#c74a4a", "#64748b")
UNITS_WIDE, INCH = 24, 0.66
ROW_INCH = 0.34
STEP = 5

mpl.rcParams.update(
    {
        "font.size": 7.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.5,
        "axes.edgecolor": "#94a3b8",
        "axes.titlesize": 8.5,
    }
)


class Source:
    """A Prometheus, asked as Grafana asks it."""

    def __init__(self, url: str, minutes: float) -> None:
        self._url = url
        self.end = time.time()
        self.start = self.end - minutes * 60
        variables = {"$namespace": ".*", "$release": ".*", "$queue": ".*", "$__rate_interval": "30s"}
        self._variables = {**variables, "$__range": f"{round(minutes * 60)}s"}

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        """Series over the whole time."""
        return self._ask("query_range", expr, start=self.start, end=self.end, step=STEP)

    def now(self, expr: str) -> list[dict[str, Any]]:
        """Series at its end."""
        return self._ask("query", expr, time=self.end)

    def _ask(self, path: str, expr: str, **options: float) -> list[dict[str, Any]]:
        for name, value in self._variables.items():
            expr = expr.replace(name, value)
        query = urllib.parse.urlencode({"query": expr, **options})
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}") as answer:  # noqa: S310 - the caller's own Prometheus
            return list(json.load(answer)["data"]["result"])


def human(value: float, unit: str) -> str:
    """A number with its unit, much as Grafana writes it."""
    if unit == "percentunit":
        return f"{value * 100:.4g} %"
    if unit == "bytes":
        for name in ("B", "KiB", "MiB", "GiB"):
            if abs(value) < 1024 or name == "GiB":
                return f"{value:.3g} {name}"
            value /= 1024
    if unit == "s":
        if value and abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"
    return f"{value:.3g}" + {"ops": "/s", "reqps": "/s"}.get(unit, "") if abs(value) < 1000 else f"{value:,.0f}"


def legend(template: str, labels: dict[str, str]) -> str:
    """A series' name."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), template)


def overridden(panel: dict[str, Any], name: str) -> dict[str, Any]:
    """What the panel's overrides say of a series."""
    found: dict[str, Any] = {}
    for override in panel["fieldConfig"]["overrides"]:
        kind, option = override["matcher"]["id"], override["matcher"]["options"]
        if (kind == "byName" and option == name) or (kind == "byRegexp" and re.search(option.strip("/"), name)):
            found |= {item["id"]: item["value"] for item in override["properties"]}
    return found


def draw_series(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """A time series panel."""
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    right: Axes | None = None
    base: list[float] = []
    number = 0
    for target in panel["targets"]:
        for series in source.over_time(target["expr"]):
            name = legend(target["legendFormat"], series["metric"])
            special = overridden(panel, name)
            times = [(float(at) - source.start) / 60 for at, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]
            style = "--" if "custom.lineStyle" in special else "-"
            where = axes
            if special.get("custom.axisPlacement") == "right":
                if right is None:
                    right = axes.twinx()
                    right.spines["right"].set_visible(True)
                    finish_axis(right, special.get("unit", defaults["unit"]))
                where, style = right, "--"
            color, number = COLORS[number % len(COLORS)], number + 1
            if custom["stacking"]["mode"] == "normal":
                base = base if len(base) == len(values) else [0.0] * len(values)
                top = [low + value for low, value in zip(base, values, strict=True)]
                where.fill_between(times, base, top, color=color, alpha=0.45, linewidth=0.6, label=name)
                base = top
            elif custom["drawStyle"] == "bars":
                where.bar(times, values, width=STEP / 60, color=color, label=name)
            else:
                where.plot(times, values, style, color=color, linewidth=1.0, label=name)
    finish_axis(axes, defaults["unit"])
    axes.set_xlim(0, (source.end - source.start) / 60)
    handles, names = axes.get_legend_handles_labels()
    if right is not None:
        more, others = right.get_legend_handles_labels()
        right.set_ylim(bottom=0)
        handles, names = handles + more, names + [f"{name} (right)" for name in others]
    axes.set_ylim(bottom=0, top=defaults.get("max", None) and defaults["max"] * 1.02)
    columns = 2 if panel["gridPos"]["w"] <= 6 else 3 if panel["gridPos"]["w"] <= 8 else 4
    axes.legend(
        handles, names, loc="upper left", bbox_to_anchor=(-0.02, -0.12), ncols=columns, frameon=False, fontsize=6.5, columnspacing=1.0
    )


def finish_axis(axes: Axes, unit: str) -> None:
    """Ticks."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: human(value, unit)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(length=2, width=0.5, colors="#475569", labelsize=6.5)
    axes.grid(axis="y", linewidth=0.3, color="#cbd5e1")


def draw_number(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """A panel of one number, in the colour of its threshold."""
    defaults = panel["fieldConfig"]["defaults"]
    value = max((float(series["value"][1]) for series in source.now(panel["targets"][0]["expr"])), default=float("nan"))
    color = [step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]][-1]
    shades = {"green": "#3f8f4f", "yellow": "#b7880f", "red": "#c0392b", "blue": "#2f6fab"}
    axes.text(0.5, 0.42, human(value, defaults["unit"]), ha="center", va="center", fontsize=17, color=shades[color], weight="bold")
    axes.set_axis_off()


def draw_table(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    """A table: one row for each set of labels, one column for each query."""
    rename = panel["transformations"][-1]["options"]["renameByName"]
    columns = list(dict.fromkeys(rename.values()))
    units = {rule["matcher"]["options"]: rule["properties"][0]["value"] for rule in panel["fieldConfig"]["overrides"] if rule["properties"]}
    rows: dict[str, dict[str, float]] = {}
    for target, column in zip(panel["targets"], columns, strict=True):
        for series in source.now(target["expr"]):
            rows.setdefault(" ".join(series["metric"].values()), {})[column] = float(series["value"][1])
    order = sorted(rows, key=lambda key: rows[key].get(columns[0], 0.0), reverse=True)
    whole = {"Succeeded", "Failed", "Cancelled", "Retries"}
    cells = [
        [key, *(_cell(rows[key].get(column), "whole" if column in whole else units.get(column, "none")) for column in columns)]
        for key in order
    ]
    axes.set_axis_off()
    high = min(1.0, 0.15 * (len(rows) + 1))
    box = (0.0, 1.0 - high, 1.0, high)
    table = axes.table(cells, colLabels=["", *columns], cellLoc="right", edges="horizontal", bbox=box)
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    for (line, column), cell in table.get_celld().items():
        cell.set_edgecolor("#cbd5e1")
        cell.set_linewidth(0.4)
        if column == 0:
            cell.set_text_props(ha="left")
        if line == 0:
            cell.set_text_props(color="#475569", weight="bold")


def _cell(value: float | None, unit: str) -> str:
    if value is None or value != value:
        return ""
    return f"{value:,.0f}" if unit == "whole" else human(value, unit)


def draw(source: Source) -> Figure:
    """Every panel at its place."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = UNITS_WIDE * INCH, lines * ROW_INCH
    figure = Figure(figsize=(width, height), facecolor="white")
    kinds = {"timeseries": draw_series, "stat": draw_number, "table": draw_table}
    for panel in panels:
        at = panel["gridPos"]
        top = 1 - at["y"] / lines
        if panel["type"] == "row":
            figure.text(0.012, top - 0.75 / lines, panel["title"], fontsize=11, weight="bold", color="#1e293b", va="bottom")
            continue
        wide = panel["type"] != "timeseries"
        left, bottom = (0.3 if wide else 1.0) / UNITS_WIDE, (0.2 if wide else 2.7) / lines
        place = (at["x"] / UNITS_WIDE + left, top - at["h"] / lines + bottom)
        size = ((at["w"] - (0.6 if wide else 2.0)) / UNITS_WIDE, (at["h"] - (1.2 if wide else 3.9)) / lines)
        axes = figure.add_axes((*place, *size))
        axes.set_title(panel["title"], loc="left" if panel["type"] != "stat" else "center", color="#1e293b", pad=5)
        kinds[panel["type"]](axes, panel, source)
    return figure


def main() -> None:
    """Draw."""
    url, minutes, target = sys.argv[1:]
    drawn = BytesIO()
    draw(Source(url, float(minutes))).savefig(drawn, dpi=110, format="png")
    Image.open(drawn).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
