"""The plots of `make bench-peers`."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from peers.plot import Bar, Row, scaled, svg
from peers.plots import latency_bar, plots, rows
from peers.turn import blank

SVG = "{http://www.w3.org/2000/svg}"


def widths(text: str) -> list[float]:
    return [float(rect.attrib["width"]) for rect in ET.fromstring(text).iter(f"{SVG}rect")][1:]


def test_bars_are_as_long_as_their_values_say() -> None:
    text = svg("t", "jobs/s", ("one", "two"), [Row("a", [Bar(900, 1000, 1000), None]), Row("b", [Bar(250, 250, 250), Bar(500, 500, 500)])])
    whole, quarter, half = widths(text)
    assert [quarter / whole, half / whole] == pytest.approx([0.25, 0.5], rel=1e-3)


def test_logarithmic_scale() -> None:
    assert [scaled(value, 100, 1) for value in (1, 10, 100, 0.1)] == pytest.approx([0, 0.5, 1, 0])
    assert scaled(25, 100, None) == 0.25
    one, ten, hundred = widths(svg("t", "ms", ("p50",), [Row("a", [Bar(v, v, v)]) for v in (1, 10, 100)], logarithmic=True))
    assert hundred - ten == pytest.approx(ten - one, abs=0.2)


def test_names_are_escaped_and_nothing_measured_is_a_plot_too() -> None:
    assert "a &lt;b&gt;" in svg("a <b>", "x", ("y",), [])


def test_best_on_top_and_what_was_not_measured_left_out() -> None:
    systems = {"slow": {"v": [1.0, 3.0]}, "none": {"v": []}, "dtq": {"v": [9.0]}}
    found = rows(systems, lambda system: system["v"])
    assert [(row.name, row.highlighted) for row in found] == [("dtq", True), ("slow", False)]
    assert found[1].bars == [Bar(1, 2, 3)]
    assert [row.name for row in rows(systems, lambda system: system["v"], least=True)] == ["slow", "dtq"]
    assert latency_bar([3.0, 1.0, 2.0]) == Bar(2, 2, 3)


def test_a_run_in_which_everything_failed_has_its_plots() -> None:
    found = plots({"passes": {"memory": {"dtq": blank()}, "always": {"dtq": blank()}}})
    assert {"peers-throughput-memory.svg", "peers-throughput-always.svg", "peers-latency.svg", "peers-memory.svg"} <= found.keys()
    assert all(ET.fromstring(text).tag == f"{SVG}svg" for text in found.values())
