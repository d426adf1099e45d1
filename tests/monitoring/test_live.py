"""The dashboard and the rules on a DTQ that really runs: a real Prometheus has data for every expression."""

from __future__ import annotations

import shutil

import pytest
from grafana import expressions
from monitored_stack import Prometheus, monitored, wait_for

SECONDS = 120.0
"""The slowest number is a schedule's last success: the scheduler looks for it every 30 s."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no program `prometheus` on PATH (Debian: apt-get install prometheus)"),
]


# One test: a second one might be run by another process of pytest-xdist, which would start all of it again.
def test_every_expression_has_data() -> None:
    with monitored() as prometheus:
        check(prometheus)


def check(prometheus: Prometheus) -> None:
    rules = {rule["name"]: rule for rule in prometheus.rules()}
    recorded = {name: name for name, rule in rules.items() if rule["type"] == "recording"}
    assert len(recorded) == 3
    missing = {**expressions(), **recorded}

    def all_there() -> bool:
        for name in [name for name, expr in missing.items() if prometheus.has_data(expr)]:
            del missing[name]
        return not missing

    wait_for(all_there, lambda: f"data for {missing}", SECONDS)
    wait_for(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), lambda: str(prometheus.rules()), 30)

    def firing() -> set[str]:
        return {rule["name"] for rule in prometheus.rules() if rule["type"] == "alerting" and rule["state"] == "firing"}

    # Jobs that fail for good are part of the load; nothing else is the matter. A rule that has data fires an evaluation later.
    wait_for(lambda: "DTQDeadLettersGrow" in firing(), lambda: f"an alert for dead letters: {firing()}", 60)
    assert firing() == {"DTQDeadLettersGrow"}
