"""The external-metrics API of the cluster served by a pod of the tests, with KEDA stopped meanwhile: there can be only one server of it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from clusterkit import Json, Kubectl, wait_for
from clusterkit.front import certificate
from clusterkit.pods import server

from scalekit.site import Site

__all__ = ["restore", "served_by_the_tests"]

API = "v1beta1.external.metrics.k8s.io"
PATH = "/apis/external.metrics.k8s.io/v1beta1"
NOTE = "dtq.dev/replaced"
"""Annotation of the APIService, with what there was before: a later run can restore what a killed one has left."""
NAME = "adapter"
PORT = 6443


@contextlib.contextmanager
def served_by_the_tests(site: Site) -> Iterator[None]:
    """During the block the demand that the release's scheduler exports is the external metric dtq_queue_demand."""
    restore()
    ca = _start(site)
    try:
        _replace(site.kubectl.namespace, ca)
        asked = f"{PATH}/namespaces/{site.kubectl.namespace}/dtq_queue_demand?labelSelector=queue%20in%20%28none%29"
        wait_for("the metric is served by the tests", lambda: _raw(asked).get("items") == [], seconds=120, kubectl=site.kubectl)
        yield
    finally:
        restore()


def restore() -> None:
    """Bring back what a run has replaced, if any has."""
    cluster = Kubectl()
    service = cluster.find("apiservice", API)
    note = service and service["metadata"].get("annotations", {}).get(NOTE)
    if not note:
        return
    before = json.loads(note)
    for name, replicas in before["deployments"].items():
        Kubectl(before["namespace"])("scale", "deployment", name, f"--replicas={replicas}")
    for name in before["deployments"]:
        Kubectl(before["namespace"])("rollout", "status", "deployment", name, "--timeout=180s", seconds=200)
    if before["service"] is None:
        cluster("delete", "apiservice", API)
        return
    cluster("replace", "--filename", "-", text=json.dumps(before["service"]))
    wait_for("external metrics are served as before", lambda: _raw(PATH).get("kind") == "APIResourceList" and _available(), seconds=180)


def _replace(namespace: str, ca: str) -> None:
    cluster = Kubectl()
    service = cluster.find("apiservice", API)
    before: Json = {"service": service and _bare(service), "namespace": "", "deployments": {}}
    if service:
        before["namespace"] = service["spec"]["service"]["namespace"]
        before["deployments"] = _keda(before["namespace"])
        cluster("annotate", "apiservice", API, f"{NOTE}={json.dumps(before)}", "--overwrite")
        for name in before["deployments"]:  # its operator would put its own certificate into the APIService again
            Kubectl(before["namespace"])("scale", "deployment", name, "--replicas=0")
        wait_for("KEDA's pods are gone", lambda: not _pods(before), seconds=120)
    ours = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API, "annotations": {NOTE: json.dumps(before)}},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": base64.b64encode(ca.encode()).decode(),
            "service": {"name": NAME, "namespace": namespace, "port": PORT},
        },
    }
    cluster("replace" if service else "create", "--filename", "-", text=json.dumps(ours))


def _start(site: Site) -> str:
    """Start the server; its certificate."""
    kubectl = site.kubectl
    ca = certificate(kubectl, "adapter-tls", f"{NAME}.{kubectl.namespace}.svc")
    source = Path(__file__).with_name("external_metrics.py").read_text("utf-8")
    pairs = [{"name": name, "valueFrom": {"secretKeyRef": {"name": "adapter-tls", "key": key}}} for name, key in CERTIFICATE.items()]
    env = [{"name": "METRICSURL", "value": "http://scheduler-metrics:9090/metrics"}, {"name": "PORT", "value": str(PORT)}, *pairs]
    chosen = {"app.kubernetes.io/instance": site.release.name, "app.kubernetes.io/component": "scheduler"}
    metrics = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "scheduler-metrics"},
        "spec": {"selector": chosen, "ports": [{"port": 9090}]},
    }
    kubectl.apply(metrics, *server(NAME, site.release.cluster.image("scheduler"), PORT, ["python", "-c", source], env=env))
    kubectl("wait", "--for=condition=Ready", f"pod/{NAME}", "--timeout=120s", seconds=150)
    return ca


CERTIFICATE = {"CERT": "tls.crt", "KEY": "tls.key"}


def _keda(namespace: str) -> dict[str, int]:
    """Deployments of KEDA that run, and their replicas; not its admission webhooks, without which nothing could be changed."""
    running = {item["metadata"]["name"]: int(item["spec"]["replicas"]) for item in Kubectl(namespace).items("deployments")}
    return {name: count for name, count in running.items() if count and "keda" in name and ("operator" in name or "metrics" in name)}


def _pods(before: Json) -> list[str]:
    names = [pod["metadata"]["name"] for pod in Kubectl(before["namespace"]).items("pods")]
    return [name for name in names if any(name.startswith(f"{deployment}-") for deployment in before["deployments"])]


def _bare(service: Json) -> Json:
    """An APIService as one creates it."""
    annotations = {name: value for name, value in service["metadata"].get("annotations", {}).items() if name != NOTE}
    meta = {"name": API, "labels": service["metadata"].get("labels", {}), "annotations": annotations}
    return {"apiVersion": service["apiVersion"], "kind": service["kind"], "metadata": meta, "spec": service["spec"]}


def _raw(path: str) -> Json:
    """What the API server answers; empty for an error."""
    done = Kubectl()("get", "--raw", path, check=False)
    found: Json = json.loads(done.out) if done.code == 0 else {}
    return found


def _available() -> bool:
    conditions = Kubectl().get("apiservice", API).get("status", {}).get("conditions", [])
    return any(condition["type"] == "Available" and condition["status"] == "True" for condition in conditions)
