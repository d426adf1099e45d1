"""docs/monitoring.md: its configurations are accepted, its table of alerts is that of the rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from chart_kit import render

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
RULES = ROOT / "charts" / "dtq" / "monitoring" / "rules.yaml"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CONFIGURATIONS = [block for block in BLOCKS if block.startswith("# prometheus.yml")]
GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no program `promtool` on PATH (Debian: apt-get install prometheus)")
@pytest.mark.parametrize("block", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_prometheus_takes_the_configurations(tmp_path: Path, block: str) -> None:
    # Debian builds Prometheus without the discovery of pods: the rest is checked.
    (tmp_path / "prometheus.yml").write_text(block.replace("kubernetes_sd_configs:\n      - role: pod", "static_configs: []"))
    shutil.copy(RULES, tmp_path / "dtq-rules.yaml")
    done = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_takes_the_values() -> None:
    (values,) = [yaml.safe_load(block) for block in BLOCKS if block.startswith("# values.yaml")]
    kinds = {document["kind"] for document in render(values)}
    assert {"PodMonitor", "PrometheusRule"} <= kinds


def test_every_alert_is_listed_with_its_severity_and_thresholds() -> None:
    rows = re.findall(r"^\| \[(DTQ\w+)\]\(operations\.md#(\w+)\) \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    assert [(name, severity) for name, _, severity, _ in rows] == [(rule["alert"], rule["labels"]["severity"]) for rule in _in_order(rows)]
    for name, anchor, _, when in rows:
        assert anchor == name.lower()
        (rule,) = [rule for rule in ALERTS if rule["alert"] == name]
        named = set(re.findall(r" # (\w+)$", rule["expr"], re.MULTILINE))
        missing = named - set(re.findall(r"`(\w+)`", when))
        assert not missing or when.startswith("likewise")


def _in_order(rows: list[tuple[str, str, str, str]]) -> list[dict[str, dict[str, str]]]:
    assert {name for name, *_ in rows} == {rule["alert"] for rule in ALERTS}
    return sorted(ALERTS, key=lambda rule: [name for name, *_ in rows].index(rule["alert"]))


def test_the_adapters_rule_asks_for_a_metric_that_there_is() -> None:
    (rules,) = [yaml.safe_load(block)["rules"] for block in BLOCKS if "metricsQuery" in block]
    (rule,) = rules["external"]
    assert rule["name"]["as"] == "dtq_queue_demand"
    assert rule["seriesQuery"].startswith("dtq_queue_demand{")
    assert rule["metricsQuery"].startswith("max by (namespace, job, queue) (")
