"""Logs of pods that will be gone when one wants to read them."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterable, Iterator

from clusterkit import Json, Kubectl

__all__ = ["Logs"]


class Logs:
    """Follows what pods say from now on."""

    def __init__(self, kubectl: Kubectl, pods: Iterable[str]) -> None:
        command = ("kubectl", "--namespace", kubectl.namespace, "logs", "--follow", "--since=1s")
        self._processes = {pod: subprocess.Popen([*command, pod], stdout=subprocess.PIPE, text=True) for pod in pods}

    @classmethod
    @contextlib.contextmanager
    def followed(cls, kubectl: Kubectl, pods: Iterable[str]) -> Iterator[Logs]:
        """Follow during the block."""
        logs = cls(kubectl, pods)
        try:
            yield logs
        finally:
            for process in logs._processes.values():
                process.terminate()
                process.communicate()

    def of(self, pod: str, *, seconds: float = 60) -> list[Json]:
        """All that a pod said until it ended, by lines."""
        out, _ = self._processes[pod].communicate(timeout=seconds)
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]
