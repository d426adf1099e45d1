"""`helm uninstall` leaves nothing behind but the volumes, which a new install takes up again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterkit import Cluster, Kubectl, Release, wait_for
from clusterkit.installed import SMALL

KEPT = {"persistentvolumeclaims/dtq-blobs", "persistentvolumeclaims/data-dtq-valkey-0", "persistentvolumeclaims/data-dtq-postgresql-0"}


@pytest.fixture
def release(cluster: Cluster, new_namespace: Callable[[str], Kubectl]) -> Release:
    return Release(cluster, new_namespace("uninstall"))


def contents(kubectl: Kubectl) -> set[str]:
    """Everything in a namespace but events and records of who accesses what."""
    kinds = kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").out.split()
    kinds = [kind for kind in kinds if kind.partition(".")[0] not in {"events", "leases"} and not kind.endswith("metrics.k8s.io")]
    out = kubectl("get", ",".join(kinds), "--output=name", "--ignore-not-found").out
    return {line.replace("persistentvolumeclaim/", "persistentvolumeclaims/") for line in out.split()}


def test_only_volumes_stay_and_are_taken_up_again(release: Release) -> None:
    kubectl = release.kubectl
    before = contents(kubectl)
    release.install(SMALL)
    keys = release.api_key("submit")
    release.helm("test", release.name, "--timeout", "4m")

    release.helm("uninstall", release.name, "--wait")
    wait_for("the last pod is gone", lambda: not kubectl.items("pods"), seconds=120, kubectl=kubectl)
    assert contents(kubectl) - before == KEPT
    for kind in ("clusterroles", "clusterrolebindings"):
        mine = [item for item in Kubectl().items(kind, "--selector=app.kubernetes.io/instance=dtq") if kubectl.namespace in str(item)]
        assert mine == []

    release.install(SMALL)
    assert release.api_key("submit") != keys
    release.helm("test", release.name, "--timeout", "4m")
