"""Small servers that tests run as pods beside a release: a mail sink, and whatever else listens on a port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clusterkit.kubectl import Json, Kubectl
from clusterkit.settings import Cluster

__all__ = ["mail_sink", "server"]

PORT = 1025


def mail_sink(cluster: Cluster, kubectl: Kubectl) -> str:
    """Start it; returns its host:port."""
    command = ["aiosmtpd", "--nosetuid", "--listen", f"0.0.0.0:{PORT}", "--class", "aiosmtpd.handlers.Debugging", "stdout"]
    kubectl.apply(*server("mail", cluster.image("servers"), PORT, command))
    kubectl("wait", "--for=condition=Ready", "pod/mail", "--timeout=60s")
    return f"mail:{PORT}"


def server(name: str, image: str, port: int, command: Sequence[str], **container: Any) -> tuple[Json, Json]:
    """A pod that fulfils Pod Security "restricted", ready when its port answers, and a Service of the same name."""
    labels = {"app": name}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 2,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "fsGroup": 999, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "server",
                    "image": image,
                    "command": list(command),
                    "ports": [{"containerPort": port}],
                    "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    **container,
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": port}]},
    }
    return pod, service
