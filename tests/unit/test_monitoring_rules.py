"""The Prometheus rules: checked and tested by promtool, and complete: severity, texts, a runbook that exists, two kinds of cases."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import Metric

from dtq.storage import Store
from dtq.storage.metrics import PoolCollector
from dtq_operator.metrics import Metrics as OperatorMetrics
from dtq_scheduler.metrics import QueueCollector, ScheduleMetrics, make_registry
from dtq_submitter.metrics import Metrics
from dtq_worker.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "dtq" / "monitoring" / "rules.yaml"
CASES = sorted((ROOT / "tests" / "monitoring").glob("alerts_*.yaml"))
FOUND: list[dict[str, Any]] = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in FOUND if "alert" in rule}
RECORDED = {rule["record"] for rule in FOUND if "record" in rule}

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no program `promtool` on PATH (Debian: apt-get install prometheus)")


def run(*command: str | Path) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_promtool_finds_nothing_to_complain_about() -> None:
    run("check", "rules", "--lint=all", "--lint-fatal", RULES)


@promtool
@pytest.mark.parametrize("file", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(file: Path) -> None:
    run("test", "rules", file)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(alert: str) -> None:
    cases = [case for file in CASES for test in yaml.safe_load(file.read_text("utf-8"))["tests"] for case in test["alert_rule_test"]]
    fires = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == alert}
    assert fires == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    assert section == alert.lower()
    assert f"### {alert}\n" in (ROOT / page).read_text("utf-8")


def exported() -> set[str]:
    """Names of all series that the services export."""
    registry = make_registry()
    ScheduleMetrics(registry)
    worker = WorkerMetrics(lambda: (0, 1), lambda: 0.0, lambda: ([], []))
    pool = PoolCollector(Store("postgresql://127.0.0.1:1/none").pool_stats)
    collectors = (registry, QueueCollector(), pool, Metrics().registry, worker, OperatorMetrics().registry)
    return {name for collector in collectors for family in collector.collect() for name in _series(family)}


def _series(family: Metric) -> list[str]:
    if family.type == "counter":
        return [f"{family.name}_total"]
    return [f"{family.name}_bucket", f"{family.name}_sum", f"{family.name}_count"] if family.type == "histogram" else [family.name]


def test_the_metrics_asked_for_are_exported() -> None:
    asked = {name for rule in FOUND for name in re.findall(r"(?<!:)\bdtq_\w+(?=\{)", rule["expr"])}
    assert asked <= exported()
    used = {name for rule in FOUND for name in re.findall(r"\b\w+:dtq_\w+:\w+", rule["expr"])}
    assert used == RECORDED


@pytest.mark.parametrize("rule", FOUND, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_selector_can_be_narrowed_to_one_release(rule: dict[str, Any]) -> None:
    selectors = re.findall(r"\b(?:\w+:)?(?:dtq|kube)_\w+(?::\w+)?\{([^}]*)\}", rule["expr"])
    assert selectors
    for selector in selectors:
        assert selector.endswith(('namespace=~".*",job=~".*"', 'namespace=~".*",horizontalpodautoscaler=~".*-worker-.*"'))


def test_thresholds_are_those_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "charts" / "dtq" / "values.yaml").read_text("utf-8"))["monitoring"]["rules"]["thresholds"]
    marked = {(name, float(value)) for rule in FOUND for value, name in re.findall(r"([0-9.]+) # (\w+)$", rule["expr"], re.MULTILINE)}
    assert marked == {(name, float(value)) for name, value in values.items()}
