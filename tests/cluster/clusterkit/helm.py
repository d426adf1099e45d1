"""Releases of the chart."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass

from clusterkit.commands import CommandFailed, Outcome, run
from clusterkit.kubectl import Json, Kubectl, is_ready
from clusterkit.settings import CHART, Cluster
from clusterkit.waiting import wait_for

__all__ = ["Release", "merged", "warnings"]

WARNING = re.compile(r"^(Warning:.*|W\d{4} .*|.*level=WARN .*|.*would violate PodSecurity.*|.*unknown field.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """One release; its resources are named after it."""

    cluster: Cluster
    kubectl: Kubectl
    name: str = "dtq"

    def install(self, values: Json, *, wait: bool = True) -> Outcome:
        """`helm install` with these values besides the images'; with ``wait`` it ends when all is ready."""
        return self._apply("install", values, wait=wait)

    def upgrade(self, values: Json, *, wait: bool = True) -> Outcome:
        """`helm upgrade`, which forgets values given before."""
        return self._apply("upgrade", values, wait=wait)

    def helm(self, *arguments: str, text: str | None = None, check: bool = True, seconds: float = 420) -> Outcome:
        """Any command of helm in the release's namespace."""
        try:
            return run(self.cluster.helm, *arguments, "--namespace", self.kubectl.namespace, text=text, check=check, seconds=seconds)
        except CommandFailed as failed:
            failed.add_note(self.kubectl.report())
            raise

    def revision(self) -> str:
        """Number of the present revision, as `helm rollback` takes it."""
        return str(json.loads(self.helm("status", self.name, "--output", "json").out)["version"])

    def values(self, own: Json) -> Json:
        """All values that are not at their default."""
        return merged(self.cluster.image_values(), own)

    def pods(self, component: str) -> list[Json]:
        """Pods of a component, such as ``submitter``, that are not being deleted."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        return [pod for pod in self.kubectl.items("pods", "--selector", selector) if "deletionTimestamp" not in pod["metadata"]]

    def wait_ready(self, component: str, count: int, *, seconds: float = 180) -> list[Json]:
        """Wait until a component has so many pods and all are ready."""

        def ready() -> list[Json]:
            pods = self.pods(component)
            return pods if len(pods) == count and all(map(is_ready, pods)) else []

        return wait_for(f"{count} ready pods of {component}", ready, seconds=seconds, kubectl=self.kubectl)

    def secret(self, name: str, entry: str) -> str:
        """An entry of a Secret."""
        return base64.b64decode(self.kubectl.get("secret", name)["data"][entry]).decode()

    def api_key(self, role: str) -> str:
        """The key that the chart made for a role: admin, submit or read."""
        return self.secret(f"{self.name}-api-keys", role)

    def _apply(self, verb: str, values: Json, *, wait: bool) -> Outcome:
        waits = ("--wait", "--timeout", "5m") if wait else ()
        return self.helm(verb, self.name, str(CHART), "--values", "-", *waits, text=json.dumps(self.values(values)))


def warnings(outcome: Outcome) -> list[str]:
    """Lines with which helm or kubectl passes on a warning of the API server."""
    return [match.group(0) for match in WARNING.finditer(outcome.err + "\n" + outcome.out)]


def merged(base: Json, over: Json) -> Json:
    """Values as helm merges them: maps are joined, anything else is replaced."""
    both = dict(base)
    for key, value in over.items():
        both[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return both
