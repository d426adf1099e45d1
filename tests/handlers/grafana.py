"""The dashboard's file as tests read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "charts/dtq/monitoring/dashboard.json").read_text("utf-8"))
VARIABLES = {"$namespace": ".*", "$release": ".*", "$queue": ".*", "$__rate_interval": "30s", "$__range": "5m"}
"""What Grafana puts in for "All"; a rate interval for scrapes every second."""


def panels() -> list[dict[str, Any]]:
    """Every panel, rows too."""
    return list(DASHBOARD["panels"])


def filled_in(expr: str) -> str:
    """An expression as Grafana sends it."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def expressions() -> dict[str, str]:
    """Every query by panel and letter, as Grafana sends it."""
    return {f"{panel['title']} {target['refId']}": filled_in(target["expr"]) for panel in panels() for target in panel.get("targets", [])}
