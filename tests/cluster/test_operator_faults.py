"""What goes wrong around the operator: it is killed, Redis or the API server is away, namespaces vanish, data is lost."""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import kopf
import pytest
import redis
import yaml
from clusterkit.kubectl import Kubectl
from clusterkit.namespaces import restricted_namespace
from operator_support import Stage, condition, job, staged

from dtq.embedded import free_port
from dtq.schedule.store import PREFIX


@pytest.fixture(scope="module")
def namespace() -> Iterator[Kubectl]:
    with restricted_namespace("op-", "faults") as kubectl:
        yield kubectl


@pytest.fixture
def stage(namespace: Kubectl) -> Iterator[Stage]:
    with staged("faults", within=namespace, resync=2, start=False) as stage:
        yield stage


def test_changes_made_while_it_was_killed(stage: Stage) -> None:
    stage.operator.start()
    stage.apply(job("changed"), job("deleted"), job("replaced"), job("kept"), job("suspended"))
    stage.ready("changed", "deleted", "replaced", "kept", "suspended")
    stage.operator.kill()
    stage.patch("changed", {"schedule": "7 7 7 7 *"})
    stage.patch("suspended", {"suspend": True})
    stage.kubectl("delete", "scheduledjob", "deleted", "replaced")
    stage.apply(job("replaced", "8 8 8 8 *"), job("created"), job("wrong", timeZone="Mars/Base"))
    assert len(stage.differences()) == 6, stage.differences()
    stage.operator.start()
    stage.equal()
    stage.ready("changed", "replaced", "created", "suspended", "kept")
    stage.until("wrong", "Accepted", "False", "UnknownTimeZone")


def test_a_stop_is_graceful_and_soon(stage: Stage) -> None:
    stage.operator.start()
    stage.apply(job("a"))
    stage.ready("a")
    assert stage.operator.stop() == 0
    assert stage.operator.logged("operator_stopped")
    assert stage.entry("a") is not None, "jobs go on firing without the operator"


def test_redis_away_and_back(stage: Stage) -> None:
    stage.operator.start()
    stage.apply(job("before"), job("gone"))
    stage.ready("before", "gone")
    stage.valkey.stop()
    stage.wait("it is not ready", lambda: stage.operator.probe("readyz") == 503)
    assert "redis" in stage.operator.page("readyz")
    stage.apply(job("meanwhile"))
    stage.patch("before", {"schedule": "7 7 7 7 *"})
    stage.kubectl("delete", "scheduledjob", "gone")
    for name in ("meanwhile", "before"):
        said = stage.until(name, "Synced", "False", "RedisUnavailable")
        assert said.endswith("it will be written when Redis is back")
        assert condition(stage.get(name), "Accepted")[0] == "True"
    assert stage.operator.probe("livez") == 200
    stage.valkey.start()
    stage.ready("meanwhile", "before")
    stage.equal()
    assert stage.operator.probe("readyz") == 200


def test_it_starts_without_redis(stage: Stage) -> None:
    stage.valkey.stop()
    stage.operator.start()
    stage.apply(job("early"))
    stage.until("early", "Synced", "False", "RedisUnavailable")
    stage.valkey.start()
    stage.ready("early")
    stage.equal()


def test_redis_that_lost_its_data_is_filled_again(stage: Stage) -> None:
    stage.operator.start()
    stage.apply(job("lost", "0 0 1 1 *"), job("other"))
    stage.ready("lost", "other")
    patch = '--patch={"status":{"lastScheduleTime":"2026-01-01T00:00:00Z"}}'
    stage.operator.stop()
    stage.kubectl("patch", "scheduledjob", "lost", "--subresource=status", "--type=merge", patch)
    with redis.Redis.from_url(stage.valkey.url) as client:
        client.flushall()
    stage.operator.start()
    stage.equal()
    entry = stage.entry("lost")
    assert entry is not None
    assert entry.last == 1_767_225_600_000, "it goes on from its last start, and does not start that tick again"


def test_an_api_server_set_back_to_an_older_copy_is_followed(stage: Stage) -> None:
    stage.operator.start()
    stage.apply(job("back"))
    stage.ready("back")
    stage.operator.stop()
    with redis.Redis.from_url(stage.valkey.url) as client:
        client.hset(f"{PREFIX}:e:{stage.namespace}.back", "gen", 9)
    stage.operator.start()
    stage.equal()
    entry = stage.entry("back")
    assert entry is not None
    assert entry.generation == 1


def test_api_server_away_and_back(stage: Stage, tmp_path: Path) -> None:
    with Gate(tmp_path) as gate:
        stage.operator.start(KUBECONFIG=gate.kubeconfig)
        stage.apply(job("a"), job("b"))
        stage.ready("a", "b")
        gate.shut()
        stage.wait("it is not ready", lambda: stage.operator.probe("readyz") == 503)
        assert "kubernetes" in stage.operator.page("readyz")
        stage.patch("a", {"schedule": "7 7 7 7 *"})
        stage.kubectl("delete", "scheduledjob", "b")
        stage.apply(job("c"))
        stage.wait("it notices", lambda: stage.operator.logged("server_away"))
        assert set(stage.entries()) == {f"{stage.namespace}.a", f"{stage.namespace}.b"}, "what cannot be listed is not removed"
        assert stage.operator.probe("livez") == 200
        gate.open()
        stage.equal()
        stage.ready("a", "c")


def test_it_starts_before_the_api_server(stage: Stage, tmp_path: Path) -> None:
    with Gate(tmp_path) as gate:
        gate.shut()
        stage.operator.start(KUBECONFIG=gate.kubeconfig)
        stage.apply(job("a"))
        gate.open()
        stage.ready("a")
        stage.equal()


def test_a_namespace_deleted_with_resources_in_it(namespace: Kubectl) -> None:
    with staged("nsgone", within=namespace, namespaces="*", resync=2) as stage, doomed_namespace() as doomed:
        doomed.apply(*(job(f"d{number}") for number in range(30)))
        stage.apply(job("stays"))
        stage.ready("stays")
        stage.equal(stage.namespace, doomed.namespace)
        doomed("delete", "namespace", doomed.namespace, "--timeout=60s")
        stage.equal(stage.namespace, doomed.namespace, seconds=20)
        assert stage.entry("stays") is not None


def test_a_namespace_deleted_while_the_operator_is_down(namespace: Kubectl) -> None:
    with staged("nsdown", within=namespace, start=False, resync=2) as stage, doomed_namespace() as doomed:
        stage.operator.start(NAMESPACES=f"{stage.namespace},{doomed.namespace}")
        doomed.apply(*(job(f"d{number}") for number in range(5)))
        stage.apply(job("stays"))
        stage.equal(stage.namespace, doomed.namespace)
        stage.operator.kill()
        doomed("delete", "namespace", doomed.namespace, "--timeout=60s")
        assert len(stage.entries()) == 6, "nobody has removed them yet"
        stage.operator.start(NAMESPACES=f"{stage.namespace},{doomed.namespace}")
        stage.equal(stage.namespace, doomed.namespace, seconds=20)
        assert stage.entry("stays") is not None


def test_other_clusters_and_other_namespaces_entries_are_left_alone(stage: Stage) -> None:
    stage.operator.start()
    stage.apply(job("mine"))
    stage.ready("mine")
    stage.operator.stop()
    stage.operator.start(CLUSTERNAME="another")
    said = stage.until("mine", "Synced", "False", "NameTaken")
    assert f"is managed by {stage.cluster}/{stage.namespace}" in said
    stage.kubectl("delete", "scheduledjob", "mine")
    stage.resynced()
    assert stage.entry("mine") is not None


def test_a_namespace_that_may_not_be_listed_loses_nothing_and_holds_up_no_other(stage: Stage, tmp_path: Path) -> None:
    stage.operator.start()
    stage.apply(job("kept"))
    stage.ready("kept")
    stage.operator.stop()
    with restricted_namespace("op-", "served") as served:
        kubeconfig = limited_account(served, tmp_path)
        served.apply(job("a"))
        stage.operator.start(NAMESPACES=f"{stage.namespace},{served.namespace}", KUBECONFIG=kubeconfig)
        stage.wait("the other namespace is served", lambda: f"{served.namespace}.a" in stage.entries())
        away = stage.wait("it says what it may not", lambda: stage.operator.logged("server_away"))
        assert f"namespace {stage.namespace} is not compared, its schedules stay" in away[0]["error"]
        assert stage.entry("kept") is not None


# ---------------------------------------------------------------------- what they need


@contextlib.contextmanager
def doomed_namespace() -> Iterator[Kubectl]:
    """A namespace for a test that deletes it."""
    name = f"op-doomed-{secrets.token_hex(2)}"
    Kubectl().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield Kubectl(name)
    finally:
        Kubectl()("delete", "namespace", name, "--wait=false", "--ignore-not-found")


class Gate:
    """A way to the API server that can be shut: connections through it break, and new ones are refused."""

    def __init__(self, folder: Path) -> None:
        info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
        assert info is not None
        there = urlsplit(info.server)
        self._target = (there.hostname or "", there.port or 443)
        self._port = free_port()
        self._listener: socket.socket | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.kubeconfig = str(folder / "kubeconfig")
        Path(self.kubeconfig).write_text(_with_server(f"https://127.0.0.1:{self._port}"), "utf-8")

    def __enter__(self) -> Gate:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for pair in self._pairs:
            for end in pair:
                _break(end)
        self._pairs.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            pair = (client, socket.create_connection(self._target))
            self._pairs.append(pair)
            threading.Thread(target=_carry, args=pair, daemon=True).start()


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed already
        end.shutdown(socket.SHUT_RDWR)


def _carry(client: socket.socket, server: socket.socket) -> None:
    other = {client: server, server: client}
    try:
        while True:
            for end in select.select([client, server], [], [])[0]:
                data = end.recv(65_536)
                if not data:
                    return
                other[end].sendall(data)
    except (OSError, ValueError):
        return
    finally:
        client.close()
        server.close()


def _with_server(url: str, change: Callable[[dict[str, object]], None] | None = None) -> str:
    """The present kubeconfig with another address of the server, whose certificate is then not checked."""
    config = yaml.safe_load(Kubectl()("config", "view", "--raw", "--minify", "--flatten").out)
    cluster = config["clusters"][0]["cluster"]
    cluster["server"] = url
    cluster.pop("certificate-authority-data", None)
    cluster["insecure-skip-tls-verify"] = True
    if change is not None:
        change(config["users"][0])
    return str(yaml.safe_dump(config))


def limited_account(served: Kubectl, folder: Path) -> str:
    """A kubeconfig of an account that may do in one namespace what an operator needs, and nothing elsewhere."""
    rules = [
        {"apiGroups": ["dtq.dev"], "resources": ["scheduledjobs"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["dtq.dev"], "resources": ["scheduledjobs/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]
    api, kind = "rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1"
    subject = {"kind": "ServiceAccount", "name": "limited", "namespace": served.namespace}
    served.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "limited"}},
        {"apiVersion": kind, "kind": "Role", "metadata": {"name": "limited"}, "rules": rules},
        {
            "apiVersion": kind,
            "kind": "RoleBinding",
            "metadata": {"name": "limited"},
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "limited"},
            "subjects": [subject],
        },
    )
    token = served("create", "token", "limited").out.strip()

    def as_account(user: dict[str, object]) -> None:
        user["user"] = {"token": token}

    info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    assert info is not None
    path = folder / "limited"
    path.write_text(_with_server(info.server, as_account), "utf-8")
    return str(path)
