"""The cluster that the tests run on, as `make test-cluster` describes it by environment variables."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from clusterkit.commands import run
from clusterkit.kubectl import Json

__all__ = ["CHART", "ROOT", "Cluster", "image_name"]

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "dtq"


def image_name(name: str) -> str:
    """Name of an image under test, such as that of ``worker``, by REGISTRY and TAG."""
    return f"{os.environ.get('REGISTRY', 'localhost')}/dtq-{name}:{os.environ.get('TAG', 'test')}"


@dataclass(frozen=True)
class Cluster:
    """Where images and the ingress controller are."""

    registry: str
    """First part of the images' names; tools/test_cluster.sh loads them under it."""
    tag: str
    http: str
    """URL of the ingress controller; hosts are told by the Host header."""
    https: str
    prefix: str
    """What names of namespaces begin with."""
    helm: str

    @staticmethod
    def from_environment() -> Cluster:
        """Read REGISTRY, TAG, INGRESSHTTP, INGRESSHTTPS, NAMESPACEPREFIX and HELM; AssertionError if the cluster does not answer."""
        helm = os.environ.get("HELM", "helm")
        for program in ("kubectl", "openssl", helm):
            assert shutil.which(program), f"the tests on a cluster need the program {program}"
        answer = run("kubectl", "get", "--raw", "/readyz", check=False)
        assert answer.code == 0, f"no cluster answers; KUBECONFIG has to name one: {answer.err.strip()}"
        return Cluster(
            registry=os.environ.get("REGISTRY", "localhost"),
            tag=os.environ.get("TAG", "test"),
            http=os.environ.get("INGRESSHTTP", "http://127.0.0.1:80"),
            https=os.environ.get("INGRESSHTTPS", "https://127.0.0.1:443"),
            prefix=os.environ.get("NAMESPACEPREFIX", "dtq-test-"),
            helm=helm,
        )

    def image(self, name: str) -> str:
        """Name of an image, such as that of ``worker``."""
        return image_name(name)

    def image_values(self) -> Json:
        """Values of the chart that name the images under test; everything else is left at its default."""
        servers = {"repository": f"{self.registry}/dtq-servers", "tag": self.tag}
        return {
            "image": {"registry": self.registry, "tag": self.tag},
            "valkey": {"image": servers},
            "postgresql": {"image": servers},
        }
