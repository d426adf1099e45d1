"""What the operator's tests share: an operator, and if wanted a scheduler and a worker, as processes beside the cluster of KUBECONFIG.

They have a Valkey of their own, so that Redis can be stopped and looked into; only the API server is the cluster's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clusterkit.kubectl import Json, Kubectl
from clusterkit.namespaces import restricted_namespace
from clusterkit.waiting import wait_for

from dtq.config import load_settings
from dtq.embedded import ValkeyServer, free_port
from dtq.queue import Queue
from dtq.schedule.entry import Entry
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore

__all__ = [
    "EMAIL",
    "GREET",
    "NEVER_TODAY",
    "ROOT",
    "Program",
    "Stage",
    "condition",
    "create_a_thousand",
    "define",
    "differing",
    "job",
    "read_entries",
    "staged",
]

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = ROOT / "charts" / "dtq" / "crds" / "scheduledjobs.yaml"

EMAIL: Json = {"type": "email", "payload": {"to": "user@example.com", "subject": "Test", "body": "A test."}}
GREET: Json = {"type": "greet", "payload": {"name": "Ada"}}
NEVER_TODAY = "0 0 1 1 *"


def define() -> None:
    """Put the definition of ScheduledJob into the cluster."""
    Kubectl()("apply", "--server-side", "--force-conflicts", "--filename", str(DEFINITION))
    Kubectl()("wait", "--for=condition=Established", "crd/scheduledjobs.dtq.dev", "--timeout=30s")


def job(name: str, schedule: str = NEVER_TODAY, template: Json | None = None, **spec: object) -> Json:
    """A ScheduledJob."""
    return {
        "apiVersion": "dtq.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": name},
        "spec": {"schedule": schedule, "jobTemplate": template or EMAIL, **spec},
    }


def create_a_thousand(kubectl: Kubectl, wait: Callable[..., object], seconds: float) -> tuple[float, float]:
    """A thousand ScheduledJobs at once, labelled ``many=yes``; seconds to create them, and until all were Synced after that."""
    many = [job(f"k{number}", f"{number % 60} {number % 24} 1 1 *") for number in range(1000)]
    for resource in many:
        resource["metadata"]["labels"] = {"many": "yes"}
    started = time.monotonic()
    kubectl("create", "--filename", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": many}), seconds=300)
    created = time.monotonic()

    def synced() -> bool:
        path = '{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Synced")].status}{"\\n"}{end}'
        lines = kubectl("get", "scheduledjobs", f"--output=jsonpath={path}").out.splitlines()
        return sum(re.fullmatch(r"k\d+ True", line) is not None for line in lines) == 1000

    wait("all are Synced", synced, seconds=seconds)
    return created - started, time.monotonic() - created


def condition(resource: Json, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition, empty if it is not there or not about the present spec."""
    for found in resource.get("status", {}).get("conditions", []):
        if found["type"] == kind and found["observedGeneration"] == resource["metadata"]["generation"]:
            return found["status"], found["reason"], found["message"]
    return "", "", ""


class Program:
    """One of DTQ's services as a process; what it logs is shown by a failed test."""

    def __init__(self, module: str, folder: Path, environment: dict[str, str]) -> None:
        self.module = module
        self.port = 0
        self._log = Path(tempfile.mkstemp(prefix=f"{module}-", suffix=".log", dir=folder)[1])
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> Program:
        """Start, and return when it is alive."""
        self.port = free_port()
        given = {**self._environment, **environment, "METRICSADDR": f"127.0.0.1:{self.port}"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", self.module], env=given, stdout=log, stderr=log, cwd="/")
        wait_for(f"{self.module} is alive", lambda: self.probe("livez") == 200, seconds=60, every=0.1)
        return self

    def probe(self, page: str) -> int:
        """HTTP status of /livez or /readyz, 0 without an answer."""
        return self._get(page)[0]

    def page(self, page: str) -> str:
        """What a page says."""
        return self._get(page)[1]

    def _get(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def logged(self, event: str) -> list[Json]:
        """Lines of this event."""
        lines = [json.loads(line) for line in self._log.read_text("utf-8").splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def tail(self) -> str:
        """The end of its log."""
        return self._log.read_text("utf-8")[-6000:] if self._log.exists() else ""

    def kill(self) -> None:
        """End it as a lost node does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """End it as the kubelet does; its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        code = self._process.wait(timeout=30)
        self._process = None
        return code


class Stage:
    """A namespace, a Valkey, and the operator that joins them."""

    def __init__(self, folder: Path, kubectl: Kubectl, valkey: ValkeyServer, namespaces: str, resync: float) -> None:
        self.kubectl = kubectl
        self.namespace = kubectl.namespace
        self.valkey = valkey
        self.cluster = f"test-{secrets.token_hex(3)}"
        self._folder = folder
        self._programs: list[Program] = []
        self._environment = {
            "REDISADDR": valkey.url,
            "DATABASEURL": "postgresql://127.0.0.1:1/none",
            "NAMESPACES": namespaces,
            "CLUSTERNAME": self.cluster,
            "RESYNCSECONDS": str(resync),
            "HANDLERS": "greet",
            "PYTHONPATH": str(ROOT / "examples"),
        }
        self.operator = self.program("dtq_operator")

    def program(self, module: str) -> Program:
        """Another process on the same servers, not started yet."""
        program = Program(module, self._folder, self._environment)
        self._programs.append(program)
        return program

    def close(self) -> None:
        """End all processes."""
        for program in self._programs:
            program.kill()

    def logs(self) -> str:
        """The end of every log."""
        return "\n".join(f"--- {program.module}\n{program.tail()}" for program in self._programs)

    # ------------------------------------------------------------------ resources

    def apply(self, *resources: Json) -> None:
        """kubectl apply."""
        self.kubectl.apply(*resources)

    def get(self, name: str) -> Json:
        """A ScheduledJob."""
        return self.kubectl.get("scheduledjob", name)

    def patch(self, name: str, spec: Json) -> None:
        """Change fields of a spec."""
        self.kubectl("patch", "scheduledjob", name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def until(self, name: str, kind: str, status: str, reason: str, seconds: float = 30) -> str:
        """Wait for a condition of the present spec; its message."""

        def holds() -> str | None:
            found = condition(self.get(name), kind)
            return found[2] if found[:2] == (status, reason) else None

        return str(self.wait(f"{name} is {kind}={status} ({reason})", holds, seconds=seconds))

    def ready(self, *names: str, seconds: float = 30) -> None:
        """Wait until these are Ready."""
        for name in names:
            self.wait(f"{name} is Ready", lambda name=name: condition(self.get(name), "Ready")[0] == "True", seconds=seconds)

    def events(self, name: str) -> list[Json]:
        """Kubernetes events about a ScheduledJob."""
        selector = f"involvedObject.kind=ScheduledJob,involvedObject.name={name}"
        return self.kubectl.items("events", f"--field-selector={selector}")

    def reasons(self, name: str) -> list[str]:
        """Their reasons, one for each."""
        return sorted(str(event["reason"]) for event in self.events(name))

    # ------------------------------------------------------------------ Redis

    def entries(self) -> dict[str, Entry]:
        """All schedules in Redis."""
        return read_entries(self.valkey.url)

    def entry(self, name: str) -> Entry | None:
        """The schedule of a ScheduledJob."""
        return self.entries().get(f"{self.namespace}.{name}")

    def differences(self, *namespaces: str) -> list[str]:
        """Where the schedules in Redis are not what the accepted resources say; by default of the own namespace."""
        return differing(self.entries(), self.cluster, *(namespaces or (self.namespace,)))

    def equal(self, *namespaces: str, seconds: float = 30) -> None:
        """Wait until Redis and resources agree."""
        found: list[str] = []

        def agree() -> bool:
            found[:] = self.differences(*namespaces)
            return not found

        try:
            self.wait("entries in Redis equal the resources", agree, seconds=seconds)
        except AssertionError as error:
            raise AssertionError("\n".join([*found[:5], str(error)])) from None

    def resynced(self, times: int = 2) -> None:
        """Wait until the operator has compared everything so many times more."""
        for _ in range(times):
            before = self._last_resync()
            self.wait("a full comparison", lambda before=before: self._last_resync() > before)

    def _last_resync(self) -> float:
        found = re.search(r"^dtq_operator_last_resync_timestamp_seconds (\S+)$", self.operator.page("metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait(self, what: str, probe: Any, *, seconds: float = 30) -> Any:
        """wait_for, with the logs."""
        try:
            return wait_for(what, probe, seconds=seconds, every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None


def read_entries(url: str) -> dict[str, Entry]:
    """All schedules in a Redis, by name."""

    async def read() -> dict[str, Entry]:
        queue = await Queue.connect(load_settings(redisaddr=url))
        try:
            found: dict[str, Entry] = {}
            cursor: str | None = None
            while True:
                page, cursor = await ScheduleStore(queue.client).list(cursor, 500)
                found.update((entry.name, entry) for entry in page)
                if cursor is None:
                    return found
        finally:
            await queue.close()

    return asyncio.run(read())


def differing(entries: dict[str, Entry], cluster: str, *namespaces: str) -> list[str]:
    """Where schedules are not what the accepted resources of these namespaces say; ``cluster`` is the operator's CLUSTERNAME."""
    owners = {f"{cluster}/{namespace}" for namespace in namespaces}
    ours = {name: entry for name, entry in entries.items() if entry.owner in owners}
    problems: list[str] = []
    for namespace in namespaces:
        for resource in Kubectl(namespace).items("scheduledjobs"):
            name = f"{namespace}.{resource['metadata']['name']}"
            problems += _compare(name, resource, ours.pop(name, None), f"{cluster}/{namespace}")
    return problems + [f"{name}: has no resource" for name in ours]


def _compare(name: str, resource: Json, entry: Entry | None, owner: str) -> list[str]:
    meta = resource["metadata"]
    if condition(resource, "Accepted")[0] != "True":
        return [] if condition(resource, "Accepted")[0] == "False" else [f"{name}: not judged"]
    if entry is None:
        return [f"{name}: is not in Redis"]
    there = (entry.owner, entry.uid, entry.generation, entry.spec)
    wanted = (owner, meta["uid"], meta["generation"], parse_spec(resource["spec"]))
    return [] if there == wanted else [f"{name}: {there} is not {wanted}"]


@contextlib.contextmanager
def staged(
    purpose: str, *, within: Kubectl | None = None, namespaces: str | None = None, resync: float = 3, start: bool = True
) -> Iterator[Stage]:
    """A stage in a new namespace, or ``within`` one; ``namespaces`` (NAMESPACES) is that one unless given."""
    define()
    folder = Path(tempfile.mkdtemp(prefix="dtq-operator-"))
    with contextlib.ExitStack() as stack:
        kubectl = within or stack.enter_context(restricted_namespace("op-", purpose))
        valkey = ValkeyServer(folder / "valkey", free_port(), durable=False)
        valkey.start()
        stage = Stage(folder, kubectl, valkey, namespaces or kubectl.namespace, resync)
        try:
            if start:
                stage.operator.start()
            yield stage
        finally:
            stage.close()
            valkey.stop()
            shutil.rmtree(folder, ignore_errors=True)
            kubectl("delete", "scheduledjobs,events", "--all", check=False)
