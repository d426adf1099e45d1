"""Rendering the chart in tests: helm without a cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

__all__ = ["CHART", "EVERYTHING", "Json", "containers", "find", "lint", "merged", "notes", "pods", "refusal", "render", "setting", "text"]

Json = dict[str, Any]

CHART = Path(__file__).parents[2] / "charts/dtq"

EVERYTHING: Json = {
    "commonLabels": {"team": "a"},
    "podAnnotations": {"seen": "yes"},
    "image": {"registry": "registry.example.com/team", "pullSecrets": ["pull"]},
    "config": {"RESULTTTL": 600, "MAXBODYBYTES": 20971520, "LOGLEVEL": "DEBUG", "RETRYBASE": 0.5},
    "auth": {"extraKeys": ["ci read sha256:" + 64 * "0"]},
    "smtp": {"addr": "mail:25", "from": "a@example.com", "tls": "tls", "existingSecret": "mail"},
    "blobs": {"persistence": {"accessModes": ["ReadWriteMany"], "storageClass": "nfs"}},
    "submitter": {
        "extraEnv": [{"name": "LOGLEVEL", "value": "INFO"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}},
        "nodeSelector": {"disk": "fast"},
        "priorityClassName": "high",
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    },
    "operator": {"namespaces": ["one", "two"]},
    "workers": {
        "default": {"queues": ["default"], "handlers": ["greet"], "autoscaling": {"mode": "keda"}},
        "two": {"queues": ["a", "b"], "handlers": ["greet", "more.jobs"], "autoscaling": {"mode": "keda", "min": 1}},
        "prom": {"queues": ["c"], "autoscaling": {"mode": "keda", "prometheus": {"serverAddress": "http://prometheus:9090"}}},
        "hpa": {"queues": ["d", "e.f"], "autoscaling": {"mode": "hpa", "min": 1, "hpa": {"metricLabels": {"job": "r"}}}},
        "plain": {"queues": ["*"], "replicas": 3},
    },
    "ingress": {"enabled": True, "className": "c", "host": "dtq.example.com", "tls": {"enabled": True, "secretName": "cert"}},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gate", "namespace": "front"}], "hostnames": ["x.example.com"]},
    "networkPolicy": {"enabled": True, "apiFrom": [{"namespaceSelector": {}}], "metricsFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "monitoring": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboard": {"enabled": True}},
}
"""Values that switch everything on."""


def _helm() -> str:
    """The helm of the virtual environment, or that on PATH; without any the test is skipped."""
    own = Path(sys.executable).parent / "helm"
    found = str(own) if own.exists() else shutil.which("helm")
    if found is None:
        pytest.skip("there is no helm for this kind of machine in the package index, and none on PATH")
    return found


@lru_cache(maxsize=512)
def _run(command: tuple[str, ...], values: str) -> subprocess.CompletedProcess[str]:
    arguments = [_helm(), *command, "--namespace", "ns", "--values", "-"]
    environment = {**os.environ, "GOGC": "off"}  # too short a life for collecting garbage
    return subprocess.run(arguments, input=values, env=environment, capture_output=True, text=True, timeout=60, check=False)


def render(values: Json | None = None, release: str = "r", chart: Path = CHART) -> list[Json]:
    """Every resource that `helm template` makes of these values, without the definitions in crds/."""
    done = _run(("template", release, str(chart)), json.dumps(values or {}))
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document]


def refusal(values: Json, release: str = "r") -> str:
    """What helm says when it refuses these values."""
    done = _run(("template", release, str(CHART)), json.dumps(values))
    assert done.returncode != 0, "they were taken"
    return done.stderr


def notes(values: Json | None = None, chart: Path = CHART) -> str:
    """What `helm install` shows at its end."""
    done = _run(("install", "r", str(chart), "--dry-run=client"), json.dumps(values or {}))
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def lint(values: Json) -> tuple[int, str]:
    """Exit code and words of `helm lint --strict`."""
    done = _run(("lint", "--strict", str(CHART)), json.dumps(values))
    return done.returncode, done.stdout + done.stderr


def find(documents: list[Json], kind: str, name: str) -> Json:
    """The one resource of this kind and name; ``name`` is without the release's ``r-dtq``."""
    full = f"r-dtq-{name}" if name else "r-dtq"
    (found,) = [document for document in documents if document["kind"] == kind and document["metadata"]["name"] == full]
    return found


def pods(documents: list[Json]) -> Iterator[tuple[str, Json]]:
    """Name and spec of every pod (template)."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield name, document["spec"]
        elif "template" in (document.get("spec") or {}):
            yield name, document["spec"]["template"]["spec"]


def containers(documents: list[Json]) -> Iterator[tuple[str, Json]]:
    """Name and definition of every container, init containers too."""
    for name, spec in pods(documents):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            yield f"{name}/{container['name']}", container


def setting(documents: list[Json], workload: str, name: str) -> Any:
    """Value of an environment variable of the Deployment's container, None if it has none."""
    (container,) = find(documents, "Deployment", workload)["spec"]["template"]["spec"]["containers"]
    found = [entry for entry in container["env"] if entry["name"] == name]
    assert len(found) <= 1, f"{name} stands there twice"
    return found[0].get("value", found[0].get("valueFrom")) if found else None


def merged(values: Json, more: Json) -> Json:
    """``more`` over ``values``, as helm merges them."""
    result = dict(values)
    for name, value in more.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def text(values: Json) -> str:
    """What `helm template` writes, with a name in place of each random key and its digest: the same for the same values."""
    done = _run(("template", "r", str(CHART)), json.dumps(values))
    assert done.returncode == 0, done.stderr
    return re.sub("dtq_[A-Za-z0-9]{40}", "<key>", re.sub("(admin|submit|read) sha256:[0-9a-f]{64}", "<digest>", done.stdout))
