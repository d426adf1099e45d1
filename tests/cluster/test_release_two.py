"""Two releases at the same time, of the same name, in two namespaces; the second one takes requests without keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from clusterkit import Api, Cluster, Kubectl, Release
from clusterkit.front import Front, reachable
from clusterkit.helm import merged
from clusterkit.installed import SMALL

JOB = {"sql": "SELECT 42 AS answer", "inputs": {}}


@pytest.fixture(scope="module")
def second(cluster: Cluster, front: Front, new_namespace: Callable[[str], Kubectl]) -> Release:
    release = Release(cluster, new_namespace("second"))
    host = f"{release.kubectl.namespace}.test"
    release.install(merged(SMALL, {"auth": {"anonymous": True}, "ingress": {"enabled": True, "host": host}}))
    return release


@pytest.fixture(scope="module")
def anonymous(second: Release) -> Iterator[Api]:
    with Api(second.cluster.http, f"{second.kubectl.namespace}.test") as api:
        reachable(api, second.kubectl)
        yield api


def test_it_serves_requests_without_a_key(anonymous: Api) -> None:
    job = anonymous.ended(anonymous.submit("data_processing", JOB))
    assert job["state"] == "succeeded", job


def test_the_first_one_still_wants_a_key(front: Front, anonymous: Api) -> None:
    with front.client() as api:
        assert api.request("GET", "/queues").status_code == 401


def test_neither_sees_jobs_of_the_other(front: Front, anonymous: Api) -> None:
    theirs = anonymous.submit("data_processing", JOB, queue="second-only")
    ours = front.api.submit("data_processing", JOB, queue="first-only")
    assert anonymous.request("GET", f"/jobs/{ours}").status_code == 404
    assert front.api.request("GET", f"/jobs/{theirs}").status_code == 404
    assert front.api.ended(ours)["state"] == anonymous.ended(theirs)["state"] == "succeeded"


def test_helm_test_passes_without_keys(second: Release) -> None:
    assert "succeeded: " in second.helm("test", second.name, "--logs", "--timeout", "4m").out
