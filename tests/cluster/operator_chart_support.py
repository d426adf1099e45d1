"""What tests of the operator in its pod share: a release that serves two namespaces, and ways to look into it."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from clusterkit import Api, Cluster, Json, Kubectl, Release, wait_for
from clusterkit.front import reachable
from clusterkit.helm import merged
from clusterkit.installed import SMALL
from operator_support import condition, differing, read_entries

from dtq.schedule.entry import Entry

__all__ = ["Stand", "rights", "standing", "values"]

T = TypeVar("T")

CLUSTER = "default"
"""CLUSTERNAME as the chart sets it."""

ONE: Json = {"replicas": 1}
VALUES: Json = {
    "submitter": ONE,
    "scheduler": ONE,
    # Valkey keeps its volume, since it is taken away and comes back.
    "postgresql": {"persistence": {"enabled": False}},
}


@dataclass(frozen=True)
class Stand:
    """A release whose operator serves the release's namespace and two others, which tests delete."""

    release: Release
    others: tuple[Kubectl, Kubectl]
    api: Api

    @property
    def kubectl(self) -> Kubectl:
        """kubectl in the release's namespace."""
        return self.release.kubectl

    @property
    def served(self) -> list[str]:
        """Names of the namespaces."""
        return [self.kubectl.namespace, *(other.namespace for other in self.others)]

    # ------------------------------------------------------------------ resources and schedules

    def get(self, name: str) -> Json:
        """A ScheduledJob."""
        return self.kubectl.get("scheduledjob", name)

    def patch(self, name: str, spec: Json) -> None:
        """Change fields of a spec."""
        self.kubectl("patch", "scheduledjob", name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def ready(self, *names: str, reason: str = "Scheduled", seconds: float = 90) -> None:
        """Wait until these are Ready for this reason, as of their present spec."""
        for name in names:
            self.until(name, "Ready", "True", reason, seconds=seconds)

    def until(self, name: str, kind: str, status: str, reason: str, *, seconds: float = 90) -> str:
        """Wait for a condition of the present spec; its message."""

        def holds() -> str | None:
            found = condition(self.get(name), kind)
            return found[2] if found[:2] == (status, reason) else None

        return self.wait(f"{name} is {kind}={status} ({reason})", holds, seconds=seconds)

    def equal(self, *, seconds: float = 90) -> dict[str, Entry]:
        """Wait until the schedules in Redis are what the resources of all namespaces say; returns them."""
        found: list[str] = []
        entries: dict[str, Entry] = {}
        with self.redis() as url:

            def agree() -> bool:
                entries.clear()
                entries.update(read_entries(url))
                found[:] = differing(entries, CLUSTER, *self.served)
                return not found

            try:
                self.wait("entries in Redis equal the resources", agree, seconds=seconds)
            except AssertionError as error:
                raise AssertionError("\n".join([*found[:5], str(error)])) from None
        return entries

    def differences(self) -> list[str]:
        """Where they are not, at this moment."""
        with self.redis() as url:
            return differing(read_entries(url), CLUSTER, *self.served)

    @contextlib.contextmanager
    def redis(self) -> Iterator[str]:
        """URL of the release's Valkey, through a forwarded port."""
        password = self.release.secret(f"{self.release.name}-valkey", "password")
        with forwarded(self.kubectl, f"pod/{self.release.name}-valkey-0", 6379) as port:
            yield f"redis://:{password}@127.0.0.1:{port}"

    def schedule(self, name: str) -> Json:
        """The schedule of a ScheduledJob, as the HTTP API shows it."""
        answer = self.api.request("GET", f"/schedules/{self.kubectl.namespace}.{name}")
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found

    # ------------------------------------------------------------------ pods

    def scale(self, what: str, count: int) -> None:
        """Set the number of pods of ``deployment/x`` or ``statefulset/x``, and wait until they are there, or gone."""
        self.kubectl("scale", what, f"--replicas={count}")
        component = what.rsplit("-", 1)[-1]
        if count:
            self.release.wait_ready(component, count)
            return
        selector = f"--selector=app.kubernetes.io/instance={self.release.name},app.kubernetes.io/component={component}"
        self.wait(f"no pod of {component} is left", lambda: not self.kubectl.items("pods", selector), seconds=120)

    def operator(self) -> Json:
        """The operator's pod."""
        [pod] = self.release.pods("operator")
        return pod

    def restarts(self) -> int:
        """How often its container was started again."""
        return int(self.operator()["status"]["containerStatuses"][0]["restartCount"])

    def logged(self, pod: str | None = None) -> list[Json]:
        """What the operator has logged."""
        name = pod or self.operator()["metadata"]["name"]
        lines = self.kubectl("logs", name).out.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait(self, what: str, probe: Callable[[], T | None], *, seconds: float = 90) -> T:
        """wait_for, with the namespace's state and the operator's log."""
        try:
            return wait_for(what, probe, seconds=seconds, kubectl=self.kubectl)
        except AssertionError as error:
            log = self.kubectl("logs", f"deployment/{self.release.name}-operator", "--tail=40", check=False)
            raise AssertionError(f"{error}\n{log.out}{log.err}") from None


@contextlib.contextmanager
def standing(cluster: Cluster, kubectl: Kubectl) -> Iterator[Stand]:
    """Make the other namespaces, and install it."""
    host = f"{kubectl.namespace}.test"
    release = Release(cluster, kubectl)
    with doomed_namespace(cluster, "one") as one, doomed_namespace(cluster, "two") as two:
        served: Json = {"operator": {"namespaces": [kubectl.namespace, one.namespace, two.namespace]}}
        release.install(values(merged({"ingress": {"enabled": True, "host": host}}, served)))
        with Api(cluster.http, host, key=release.api_key("admin")) as api:
            reachable(api, kubectl)
            yield Stand(release, (one, two), api)


def values(own: Json) -> Json:
    """Those of a release with one pod of everything."""
    return merged(merged(SMALL, VALUES), own)


@contextlib.contextmanager
def doomed_namespace(cluster: Cluster, purpose: str) -> Iterator[Kubectl]:
    """A namespace that a test may delete."""
    kubectl = Kubectl(f"{cluster.prefix}doomed-{purpose}-{secrets.token_hex(2)}")
    kubectl("create", "namespace", kubectl.namespace)
    try:
        yield kubectl
    finally:
        Kubectl()("delete", "namespace", kubectl.namespace, "--wait=false", "--ignore-not-found")


@contextlib.contextmanager
def forwarded(kubectl: Kubectl, what: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to a pod's."""
    command = ["kubectl", "--namespace", kubectl.namespace, "port-forward", what, f":{port}"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        try:

            def told() -> str:
                said.seek(0)
                text = said.read()
                assert process.poll() is None, f"{' '.join(command)}: {text}"
                return next((line for line in text.splitlines() if line.startswith("Forwarding from 127.0.0.1:")), "")

            yield int(wait_for("kubectl forwards a port", told, every=0.1).split("127.0.0.1:")[1].split()[0])
        finally:
            process.terminate()
            process.wait()


def rights(account: str, namespace: str) -> set[tuple[str, ...]]:
    """Lines of `kubectl auth can-i --list` for an account (NAMESPACE:NAME) in a namespace."""
    listed = Kubectl(namespace)("auth", "can-i", "--list", "--no-headers", f"--as=system:serviceaccount:{account}").out
    return {_cells(line) for line in listed.splitlines() if line.strip()}


def _cells(line: str) -> tuple[str, ...]:
    """Resources, URLs, names and verbs; verbs in alphabetical order."""
    head, _, verbs = line.rpartition("[")
    return (*head.split(), *sorted(verbs.rstrip("] ").split()))
