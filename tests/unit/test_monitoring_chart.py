"""What the chart makes of the rules and the dashboard, and that its monitors find every pod."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_kit import CHART, Json, find, refusal, render
from grafana import DASHBOARD

COMPONENTS = {"submitter", "worker", "scheduler", "operator"}


def rules(**settings: Any) -> list[Json]:
    """The rules of a release."""
    documents = render({"monitoring": {"rules": {"enabled": True, **settings}}})
    return [rule for group in find(documents, "PrometheusRule", "")["spec"]["groups"] for rule in group["rules"]]


def alert(name: str, found: list[Json]) -> Json:
    (rule,) = [rule for rule in found if rule.get("alert") == name]
    return rule


def selected(labels: Json, selector: Json) -> bool:
    def holds(expression: Json) -> bool:
        assert expression["operator"] == "In"
        return labels.get(expression["key"]) in expression["values"]

    return selector["matchLabels"].items() <= labels.items() and all(map(holds, selector["matchExpressions"]))


def test_nothing_is_made_unless_asked_for() -> None:
    kinds = {document["kind"] for document in render({})}
    assert not kinds & {"PodMonitor", "ServiceMonitor", "PrometheusRule"}


def test_the_pod_monitor_finds_every_service_and_its_port() -> None:
    documents = render({"monitoring": {"podMonitor": {"enabled": True, "interval": "15s"}}})
    spec = find(documents, "PodMonitor", "")["spec"]
    ports = {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]}
    templates = [document["spec"]["template"] for document in documents if document["kind"] in ("Deployment", "StatefulSet")]
    scraped = [pod for pod in templates if selected(pod["metadata"]["labels"], spec["selector"])]
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in scraped} == COMPONENTS
    assert all(ports & {port["name"] for port in pod["spec"]["containers"][0]["ports"]} for pod in scraped)
    assert {endpoint["interval"] for endpoint in spec["podMetricsEndpoints"]} == {"15s"}


def test_the_service_monitor_finds_a_service_of_each() -> None:
    documents = render({"monitoring": {"serviceMonitor": {"enabled": True}}})
    spec = find(documents, "ServiceMonitor", "")["spec"]
    ports = {endpoint["port"] for endpoint in spec["endpoints"]}
    services = [
        document for document in documents if document["kind"] == "Service" and selected(document["metadata"]["labels"], spec["selector"])
    ]
    assert {service["metadata"]["labels"]["app.kubernetes.io/component"] for service in services} == COMPONENTS
    assert all(ports & {port["name"] for port in service["spec"]["ports"]} for service in services)


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_the_job_label_is_the_release(kind: str) -> None:
    """The rules' selectors rely on it."""
    documents = render({"monitoring": {kind[0].lower() + kind[1:]: {"enabled": True}}})
    spec = find(documents, kind, "")["spec"]
    found = [document["metadata"]["labels"][spec["jobLabel"]] for document in documents if document["kind"] == "Service"]
    assert set(found) == {"r"}


def test_both_monitors_at_once_are_refused() -> None:
    both = {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}
    assert "everything would be scraped twice; enable one of them" in refusal(both)


def test_every_selector_is_narrowed_to_the_release() -> None:
    text = json.dumps([rule["expr"] for rule in rules()])
    selectors = re.findall(r"\b(?:dtq|kube)_\w+(?::\w+)?\{(.*?)\}", text)
    assert selectors
    for selector in selectors:
        assert 'namespace=\\"ns\\"' in selector
        assert 'job=\\"r\\"' in selector or 'horizontalpodautoscaler=~\\"(keda-hpa-)?r-dtq-worker-.*\\"' in selector


def test_matchers_of_ones_own_take_the_place_of_namespace_and_job() -> None:
    assert 'dtq_schedule_lag_seconds{app="tasks"}' in alert("DTQScheduleOverdue", rules(matchers='app="tasks"'))["expr"]


def test_a_threshold_replaces_the_number_and_nothing_else() -> None:
    given, changed = rules(), rules(thresholds={"oldestAgeSeconds": 5})
    different = [(a["expr"], b["expr"]) for a, b in zip(given, changed, strict=True) if a != b]
    assert [(a.replace("60 # oldestAgeSeconds", "5 # oldestAgeSeconds"), b) for a, b in different] == [(b, b) for _, b in different]
    assert len(different) == 1


def test_the_objective_is_changed_at_each_place() -> None:
    expr = alert("DTQQueueWaitBudgetBurnsFast", rules(thresholds={"objective": 0.999}))["expr"]
    assert re.findall(r"[0-9.]+(?= # objective)", expr) == ["0.999"] * 4


def test_labels_links_and_what_is_left_out() -> None:
    found = rules(alertLabels={"team": "a", "severity": "page"}, runbookBaseUrl="https://git.example.com/dtq/", disabled=["DTQNoWorker"])
    lost = alert("DTQDeadLettersGrow", found)
    assert lost["labels"] == {"severity": "warning", "team": "a"}
    assert lost["annotations"]["runbook_url"] == "https://git.example.com/dtq/docs/operations.md#dtqdeadlettersgrow"
    assert "DTQNoWorker" not in {rule.get("alert") for rule in found}


def test_an_alert_that_is_none_and_an_objective_that_never_fires_are_refused() -> None:
    def said(**settings: Any) -> str:
        return refusal({"monitoring": {"rules": {"enabled": True, **settings}}})

    assert 'monitoring.rules.disabled names "NoSuchAlert", which is none of the alerts' in said(disabled=["NoSuchAlert"])
    assert "monitoring.rules.thresholds.objective is 0.5: set it to 0.95 or more" in said(thresholds={"objective": 0.5})


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no program `promtool` on PATH (Debian: apt-get install prometheus)")
def test_promtool_takes_what_is_rendered(tmp_path: Path) -> None:
    thresholds = {"oldestAgeSeconds": 86_400, "minimumJobs": 1_000_000, "failureRatio": 0.05, "objective": 0.9999}
    documents = render({"monitoring": {"rules": {"enabled": True, "thresholds": thresholds}}})
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": find(documents, "PrometheusRule", "")["spec"]["groups"]}))
    command = ["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_the_file() -> None:
    found = find(render({"monitoring": {"dashboard": {"enabled": True}}}), "ConfigMap", "dashboard")
    assert json.loads(found["data"]["dtq.json"]) == DASHBOARD
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert (CHART / "monitoring" / "dashboard.json").stat().st_size < 500_000  # a ConfigMap holds 1 MiB
