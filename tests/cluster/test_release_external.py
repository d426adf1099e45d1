"""Redis and PostgreSQL of one's own, by existingSecret; and a wrong password for the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from clusterkit import Api, Cluster, Json, Kubectl, Release, wait_for
from clusterkit.front import reachable
from clusterkit.helm import merged
from clusterkit.installed import SMALL
from clusterkit.pods import server

PASSWORD = "correct-horse"  # of servers that live as long as these tests
VALKEY = f"exec valkey-server --requirepass {PASSWORD} --appendonly yes --appendfsync always --maxmemory-policy noeviction --dir /tmp"
POSTGRESQL = f"""set -eu
echo {PASSWORD} >/tmp/password
initdb -D /tmp/db -U dtq --auth=scram-sha-256 --pwfile=/tmp/password --encoding=UTF8 --locale=C >/dev/null
echo 'host all all all scram-sha-256' >>/tmp/db/pg_hba.conf
exec postgres -D /tmp/db -c listen_addresses='*' -c unix_socket_directories=/tmp"""
VALUES: Json = {
    "valkey": {"enabled": False},
    "postgresql": {"enabled": False},
    "redis": {"existingSecret": "redis"},
    "database": {"existingSecret": "database"},
    "operator": {"enabled": False},
}


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, new_namespace: Callable[[str], Kubectl]) -> Kubectl:
    """A namespace with a Valkey, a PostgreSQL and Secrets with their URLs."""
    kubectl = new_namespace("external")
    image = cluster.image("servers")
    kubectl.apply(
        *server("their-redis", image, 6379, ["sh", "-c", VALKEY]),
        *server("their-postgres", image, 5432, ["sh", "-c", POSTGRESQL]),
        secret("redis", f"redis://:{PASSWORD}@their-redis:6379"),
        secret("database", f"postgresql://dtq:{PASSWORD}@their-postgres/dtq"),
        secret("wrong", "postgresql://dtq:incorrect@their-postgres/dtq"),
    )
    kubectl("wait", "--for=condition=Ready", "pod", "their-redis", "their-postgres", "--timeout=60s")
    return kubectl


def secret(name: str, url: str) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"url": url}}


@pytest.fixture(scope="module")
def release(cluster: Cluster, namespace: Kubectl) -> Release:
    installed = Release(cluster, namespace)
    host = f"{namespace.namespace}.test"
    installed.install(merged(merged(SMALL, VALUES), {"ingress": {"enabled": True, "host": host}}))
    return installed


@pytest.fixture(scope="module")
def api(release: Release) -> Iterator[Api]:
    with Api(release.cluster.http, f"{release.kubectl.namespace}.test", key=release.api_key("submit")) as client:
        reachable(client, release.kubectl)
        yield client


def test_no_server_of_its_own_is_started(release: Release) -> None:
    assert release.kubectl.items("statefulsets") == []
    names = {item["metadata"]["name"] for item in release.kubectl.items("secrets")}
    assert not names & {"dtq-valkey", "dtq-postgresql", "dtq-redis", "dtq-database"}


def test_a_job_goes_through_them(release: Release, api: Api) -> None:
    job = api.submit("data_processing", {"sql": "SELECT 42 AS answer", "inputs": {}})
    assert api.ended(job)["state"] == "succeeded"

    def stored() -> bool:
        query = f"SELECT state FROM dtq.jobs WHERE id = '{job}'"
        url = f"postgresql://dtq:{PASSWORD}@127.0.0.1/dtq"
        return "succeeded" in release.kubectl("exec", "their-postgres", "--", "psql", url, "-tAc", query).out

    wait_for("the job's row is in their PostgreSQL", stored, kubectl=release.kubectl)


def test_a_wrong_password_is_told_in_the_pods_log(cluster: Cluster, namespace: Kubectl) -> None:
    wrong = Release(cluster, namespace, name="wrong")
    changes: Json = {"database": {"existingSecret": "wrong"}, "submitter": {"replicas": 1}, "scheduler": {"replicas": 1}}
    wrong.install(merged(merged(SMALL, VALUES), changes), wait=False)
    try:

        def told() -> bool:
            logs = [namespace("logs", pod["metadata"]["name"], "-c", "migrate", check=False) for pod in wrong.pods("submitter")]
            return any("password authentication failed" in log.out + log.err for log in logs)

        wait_for("the log of a submitter pod names the wrong password", told, kubectl=namespace)
        [pod] = wrong.pods("submitter")
        log = namespace("logs", pod["metadata"]["name"], "-c", "migrate").out
        assert "Traceback" not in log
        assert len(log.splitlines()) <= 3, log
        assert "incorrect" not in log
    finally:
        wrong.helm("uninstall", "wrong", "--wait")
