"""The Kubernetes API, by way of kubectl as a user has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clusterkit.commands import Outcome, run

__all__ = ["Json", "Kubectl"]


Json = dict[str, Any]
"""A resource as JSON."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl in one namespace; empty: for what has none."""

    namespace: str = ""

    def __call__(self, *arguments: str, text: str | None = None, check: bool = True, seconds: float = 120) -> Outcome:
        """Any command, such as ``kubectl("rollout", "status", "deployment/dtq-submitter")``."""
        where = ("--namespace", self.namespace) if self.namespace else ()
        return run("kubectl", *where, *arguments, text=text, check=check, seconds=seconds)

    def get(self, *what: str) -> Json:
        """``get("pod", "x")`` is one resource, ``get("pods")`` a list with ``items``."""
        found: Json = json.loads(self("get", *what, "--output", "json").out)
        return found

    def find(self, *what: str) -> Json | None:
        """One resource, or None if there is none of that name."""
        out = self("get", *what, "--output", "json", "--ignore-not-found").out
        found: Json | None = json.loads(out) if out.strip() else None
        return found

    def items(self, *what: str) -> list[Json]:
        """Resources, as ``items("pods", "--selector", "a=b")``."""
        listed: list[Json] = self.get(*what)["items"]
        return listed

    def apply(self, *resources: Json, options: Sequence[str] = (), check: bool = True) -> Outcome:
        """Apply resources; a field that their definition does not have is an error."""
        bundle = {"apiVersion": "v1", "kind": "List", "items": list(resources)}
        return self("apply", "--validate=strict", "--filename", "-", *options, text=json.dumps(bundle), check=check)

    def report(self) -> str:
        """Pods, the latest events and the logs of pods that are not ready: what one looks at first when something does not happen."""
        if not self.namespace:
            return ""
        parts = [
            self("get", "pods", "--output", "wide", check=False),
            self("get", "events", "--sort-by=.lastTimestamp", check=False),
            *(self("logs", name, "--all-containers", "--prefix", "--tail=20", check=False) for name in self._unready()),
        ]
        return "\n".join("\n".join((part.out + part.err).splitlines()[-40:]) for part in parts)

    def _unready(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.items("pods") if not is_ready(pod) and pod["status"].get("phase") != "Succeeded"]


def is_ready(resource: Json) -> bool:
    """Whether the condition Ready is true."""
    conditions = resource.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
