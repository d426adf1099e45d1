"""A horizontal bar plot as SVG. Pure: takes values, returns text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 860, 150, 130, 64, 13, 8
COLOURS = ("#1f6feb", "#8ab4f8", "#9e9e9e", "#d0d0d0")
"""For the first and the second series: two for the highlighted system, two for the others."""


class Bar(NamedTuple):
    """A value with how far it reached in both directions; None: nothing measured."""

    low: float
    middle: float
    high: float


class Row(NamedTuple):
    name: str
    bars: Sequence[Bar | None]
    """One for each series."""
    highlighted: bool = False


def scaled(value: float, top: float, bottom: float | None) -> float:
    """Where ``value`` lies between 0 and 1; with a ``bottom`` on a logarithmic scale that begins there."""
    if bottom is None:
        return value / top
    return max(0.0, math.log(value / bottom) / math.log(top / bottom)) if value > 0 else 0.0


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def svg(title: str, unit: str, series: Sequence[str], rows: Sequence[Row], *, logarithmic: bool = False) -> str:
    """The plot. Rows come in the order given; the whisker of a bar goes from its low to its high."""
    bars = [bar for row in rows for bar in row.bars if bar is not None]
    top = max((bar.high for bar in bars), default=1.0)
    bottom = 10 ** (math.floor(math.log10(min(bar.low for bar in bars))) - 0.3) if logarithmic and bars else None
    step = BAR * len(series) + GAP
    height = TOP + step * len(rows) + 10
    plot = WIDTH - LEFT - RIGHT
    scale = f"{unit}, logarithmic scale" if logarithmic else unit
    legend = [f"upper bar {series[0]}, lower bar {series[1]}"] if len(series) > 1 else []
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="12" y="44" fill="#555">{escape("; ".join([scale, *legend]))}</text>',
    ]
    for index, row in enumerate(rows):
        y = TOP + index * step
        weight = ' font-weight="bold"' if row.highlighted else ""
        parts.append(f'<text x="{LEFT - 8}" y="{y + (step - GAP) / 2 + 4:g}" text-anchor="end"{weight}>{escape(row.name)}</text>')
        for number, bar in enumerate(row.bars):
            if bar is None:
                continue
            colour = COLOURS[(0 if row.highlighted else 2) + number % 2]
            low, end, high = (LEFT + plot * scaled(value, top, bottom) for value in bar)
            parts += [
                f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR - 2}" fill="{colour}"/>',
                f'<path d="M{low:.1f} {y + BAR / 2 - 1:g}H{high:.1f}" stroke="#333"/>' if bar.high > bar.low else "",
                f'<text x="{max(end, high) + 6:.1f}" y="{y + BAR - 3}" fill="#333" font-size="11">{shown(bar.middle)}</text>',
            ]
            y += BAR
    return "\n".join(part for part in [*parts, "</svg>"] if part) + "\n"
