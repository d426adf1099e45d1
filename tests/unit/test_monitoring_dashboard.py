"""The Grafana dashboard: what Grafana would not tell, or only in the browser."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana import DASHBOARD, panels

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text("utf-8")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SHOWN = [panel for panel in panels() if panel["type"] != "row"]
each_panel = pytest.mark.parametrize("panel", SHOWN, ids=lambda panel: panel["title"])


def test_ids_and_titles_are_unique() -> None:
    assert max(Counter(panel["id"] for panel in panels()).values()) == 1
    assert max(Counter(panel["title"] for panel in panels()).values()) == 1


def test_nothing_overlaps_and_nothing_sticks_out() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels())
    assert not [(a["title"], b["title"]) for a, b in combinations(panels(), 2) if cells(a) & cells(b)]


@each_panel
def test_a_panel_has_a_unit_a_description_and_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    assert all(target["datasource"] == SOURCE for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@each_panel
def test_lines_have_legends_and_tables_have_columns(panel: dict[str, Any]) -> None:
    if panel["type"] == "table":
        renamed = panel["transformations"][-1]["options"]["renameByName"]
        assert len(renamed) >= len(panel["targets"])
        assert all(target["format"] == "table" and target["instant"] for target in panel["targets"])
        return
    for target in panel["targets"]:
        assert target["legendFormat"]
        grouped = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        by = re.match(r"(?:.*?)\b(?:sum|max) by \(([^)]*)\)", target["expr"])
        assert grouped <= set((by[1] if by else "").replace(",", " ").split()), "the legend names a label that the query drops"


@each_panel
def test_queries_take_the_variables_and_no_fixed_window(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for selector in re.findall(r"\b(?:dtq|kube)_\w+\{([^}]*)\}", target["expr"]):
            assert 'namespace=~"$namespace"' in selector
            assert 'job=~"$release"' in selector or "worker-.*" in selector
        assert re.findall(r"\b(?:dtq|kube)_\w+(?!\w*\{)\b(?!\{)", target["expr"]) == []
        assert set(re.findall(r"\[([^]]*)\]", target["expr"])) <= {"$__rate_interval", "$__range"}
        assert not re.search(r"\bsum(?: by \([^)]*\))? ?\(dtq_(?:queue|outbox|schedule)_", target["expr"]), "every scheduler exports them"


def test_the_variables_are_defined() -> None:
    variables = DASHBOARD["templating"]["list"]
    assert all(variable["datasource"] == SOURCE for variable in variables if variable["type"] == "query")
    defined = {variable["name"] for variable in variables}
    assert defined == {"datasource", "namespace", "release", "queue"}
    used = set(re.findall(r"\$(?!__)(\w+)", " ".join(target["expr"] for panel in SHOWN for target in panel["targets"])))
    assert used == defined - {"datasource"}


def test_every_metric_is_on_it() -> None:
    """But for those that say little in a graph."""
    named = set(re.findall(r"^\| `(dtq_\w+)` \|", PAGE, re.MULTILINE))
    text = " ".join(target["expr"] for panel in SHOWN for target in panel["targets"])
    left_out = {"dtq_build_info", "dtq_http_waits", "dtq_operator_resources", "dtq_queue_paused"}
    assert {name for name in named if not re.search(rf"\b{name}(?:_bucket)?\{{", text)} == left_out
