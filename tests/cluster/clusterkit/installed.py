"""The release that most tests share."""

from __future__ import annotations

import time
from dataclasses import dataclass

from clusterkit.commands import Outcome
from clusterkit.helm import Release
from clusterkit.kubectl import Json, Kubectl
from clusterkit.settings import Cluster

__all__ = ["SMALL", "Installed", "install_defaults"]

_LITTLE: Json = {"resources": {"requests": {"cpu": "10m"}}}
SMALL: Json = {
    **dict.fromkeys(("valkey", "postgresql", "submitter", "scheduler", "operator", "workerDefaults"), _LITTLE),
}
"""Values that let a release fit into a small cluster beside others."""


@dataclass(frozen=True)
class Installed:
    """A release, what `helm install` said, and how long it took until everything was ready."""

    release: Release
    outcome: Outcome
    seconds: float


def install_defaults(cluster: Cluster, kubectl: Kubectl) -> Installed:
    """Install with default values and wait until all is ready."""
    release = Release(cluster, kubectl)
    began = time.monotonic()
    outcome = release.install({})
    return Installed(release, outcome, time.monotonic() - began)
