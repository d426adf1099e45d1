"""Volumes that are left when a namespace has been deleted."""

from __future__ import annotations

import json
import secrets

from clusterkit.kubectl import Json, Kubectl
from clusterkit.waiting import wait_for

__all__ = ["claimed_volumes", "renew"]


def claimed_volumes(namespace: str) -> list[str]:
    """Names of the volumes that a namespace's claims have."""
    return [_name(volume) for volume in Kubectl().items("persistentvolumes") if _claimed_by(volume) == namespace]


def renew(names: list[str], image: str) -> None:
    """Bring volumes of a deleted namespace to an end.

    Most classes delete them by themselves. Those that somebody made by hand (hostPath, policy Retain: a fixed number of them) are emptied
    by a pod and offered again, else a few runs would use them up. Any other is deleted.
    """
    left = [volume for volume in Kubectl().items("persistentvolumes") if _name(volume) in names and _is_retained(volume)]
    folders = {_name(volume): volume["spec"]["hostPath"]["path"] for volume in left if "hostPath" in volume["spec"]}
    if folders:
        _empty(list(folders.values()), image)
    for volume in left:
        if _name(volume) in folders:
            Kubectl()("patch", "persistentvolume", _name(volume), "--patch", json.dumps({"spec": {"claimRef": None}}))
        else:
            Kubectl()("delete", "persistentvolume", _name(volume), "--ignore-not-found", "--wait=false")


def _empty(folders: list[str], image: str) -> None:
    """Delete all files in folders of the node, whoever owns them."""
    kubectl = Kubectl(f"volumes-{secrets.token_hex(2)}")
    places = {f"volume-{number}": folder for number, folder in enumerate(folders)}
    container = {
        "name": "empty",
        "image": image,
        "command": ["find", *(f"/{place}" for place in places), "-mindepth", "1", "-delete"],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": place, "mountPath": f"/{place}"} for place in places],
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": place, "hostPath": {"path": folder}} for place, folder in places.items()],
    }
    Kubectl()("create", "namespace", kubectl.namespace)
    try:
        kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "empty"}, "spec": spec})

        def done() -> bool:
            return bool(kubectl.get("pod", "empty")["status"].get("phase") == "Succeeded")

        wait_for("the volumes' folders are emptied", done, seconds=120, kubectl=kubectl)
    finally:
        Kubectl()("delete", "namespace", kubectl.namespace, "--wait=false")


def _name(volume: Json) -> str:
    return str(volume["metadata"]["name"])


def _claimed_by(volume: Json) -> str | None:
    found: str | None = (volume["spec"].get("claimRef") or {}).get("namespace")
    return found


def _is_retained(volume: Json) -> bool:
    return bool(volume["spec"].get("persistentVolumeReclaimPolicy") == "Retain")
