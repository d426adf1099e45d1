"""Namespaces that take only pods which fulfil Pod Security "restricted"."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from clusterkit.kubectl import Json, Kubectl
from clusterkit.waiting import wait_for

__all__ = ["restricted_namespace"]


@contextlib.contextmanager
def restricted_namespace(prefix: str, purpose: str) -> Iterator[Kubectl]:
    """A new namespace that refuses, and warns of, pods which are not "restricted". Deleted with its volumes at the end."""
    name = f"{prefix}{purpose}-{secrets.token_hex(2)}"
    cluster = Kubectl()
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}})
    try:
        yield Kubectl(name)
    finally:
        volumes = _volumes(name)
        cluster("delete", "namespace", name, "--wait=false")
        wait_for(f"namespace {name} is gone", lambda: cluster.find("namespace", name) is None, seconds=180, kubectl=Kubectl(name))
        if volumes:  # those whose class does not delete them by itself
            cluster("delete", "persistentvolume", "--ignore-not-found", "--wait=false", *volumes)


def _volumes(namespace: str) -> list[str]:
    return [_name(volume) for volume in Kubectl().items("persistentvolumes") if _claimed_by(volume) == namespace]


def _name(volume: Json) -> str:
    return str(volume["metadata"]["name"])


def _claimed_by(volume: Json) -> str | None:
    found: str | None = (volume["spec"].get("claimRef") or {}).get("namespace")
    return found
