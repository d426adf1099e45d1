"""Namespaces that take only pods which fulfil Pod Security "restricted"."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from clusterkit.kubectl import Kubectl
from clusterkit.settings import image_name
from clusterkit.volumes import claimed_volumes, renew
from clusterkit.waiting import wait_for

__all__ = ["restricted_namespace", "stop_pods"]


@contextlib.contextmanager
def restricted_namespace(prefix: str, purpose: str) -> Iterator[Kubectl]:
    """A new namespace that refuses, and warns of, pods which are not "restricted". Deleted with its volumes at the end."""
    name = f"{prefix}{purpose}-{secrets.token_hex(2)}"
    all_namespaces = Kubectl()
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    all_namespaces.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}})
    try:
        yield Kubectl(name)
    finally:
        volumes = claimed_volumes(name)
        stop_pods(Kubectl(name))
        all_namespaces("delete", "namespace", name, "--wait=false")
        gone = f"namespace {name} is gone"
        wait_for(gone, lambda: all_namespaces.find("namespace", name) is None, seconds=180, kubectl=Kubectl(name))
        renew(volumes, image_name("servers"))


def stop_pods(kubectl: Kubectl) -> None:
    """Nobody waits for their work any more: without their grace periods they, and what they hold, are gone half a minute earlier."""
    kubectl("delete", "deployments,statefulsets,replicasets", "--all", "--wait=false", check=False)
    kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false", check=False)
