"""`helm install` with default values, in a namespace that enforces Pod Security "restricted"."""

from __future__ import annotations

import pytest
from clusterkit import Kubectl, Release
from clusterkit.helm import warnings
from clusterkit.installed import Installed
from clusterkit.kubectl import is_ready

COMPONENTS = {"submitter": 2, "scheduler": 2, "operator": 1, "worker": 1, "valkey": 1, "postgresql": 1}


@pytest.fixture(scope="module")
def release(installed: Installed) -> Release:
    return installed.release


@pytest.fixture(scope="module")
def kubectl(release: Release) -> Kubectl:
    return release.kubectl


def test_all_pods_become_ready(installed: Installed) -> None:
    print(f"helm install to all ready: {installed.seconds:.0f} s")
    for component, count in COMPONENTS.items():
        pods = installed.release.pods(component)
        assert len(pods) == count, component
        assert all(map(is_ready, pods)), component


def test_no_pod_restarted_on_the_way(kubectl: Kubectl) -> None:
    restarts = {
        pod["metadata"]["name"]: status["restartCount"]
        for pod in kubectl.items("pods")
        for status in pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]
    }
    assert set(restarts.values()) == {0}, restarts


def test_helm_passes_on_no_warning(installed: Installed) -> None:
    assert warnings(installed.outcome) == []


def test_the_server_accepts_every_field_without_a_warning(release: Release, kubectl: Kubectl) -> None:
    manifest = release.helm("get", "manifest", release.name).out
    checked = kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-", text=manifest)
    assert checked.err == ""


def test_the_namespace_would_warn_of_a_pod_that_is_not_restricted(kubectl: Kubectl) -> None:
    pod = {"containers": [{"name": "a", "image": "a"}]}
    template = {"metadata": {"labels": {"a": "a"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"a": "a"}}, "template": template}
    loose = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "loose"}, "spec": spec}
    assert warnings(kubectl.apply(loose, options=["--dry-run=server"]))


def test_every_container_runs_as_restricted_says(kubectl: Kubectl) -> None:
    for pod in kubectl.items("pods", "--selector", "app.kubernetes.io/name=dtq"):
        spec = pod["spec"]
        for container in spec.get("initContainers", []) + spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, container["name"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"]["drop"] == ["ALL"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"


def test_helm_test_passes(release: Release) -> None:
    outcome = release.helm("test", release.name, "--logs", "--timeout", "4m")
    assert "succeeded: " in outcome.out
