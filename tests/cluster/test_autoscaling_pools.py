"""Worker pools scaled by KEDA, and by HorizontalPodAutoscalers: each to its maximum and back by the demand of its own queues.

For the latter the external metric comes from a server of these tests in prometheus-adapter's place, which reads what the scheduler exports;
KEDA is stopped meanwhile, since a cluster has one server of external metrics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from clusterkit import Cluster, Json, Kubectl
from clusterkit.namespaces import restricted_namespace
from scalekit import Site, deployed
from scalekit.adapter import restore, served_by_the_tests
from scalekit.story import BETA_PODS, LASTING, MOST, Seen, play, pools

FEWEST = {"keda": 0, "hpa": 1}
"""Pods without jobs: a HorizontalPodAutoscaler does not scale to 0."""
UNKEPT: Json = {"persistence": {"enabled": False}}
"""No server is restarted here, and volumes are few on some clusters."""


@pytest.fixture(scope="module", params=FEWEST)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def seen(cluster: Cluster, mode: str) -> Seen:
    restore()  # what a run that was killed may have left
    play_with = {"keda": with_keda, "hpa": served_by_the_tests}[mode]
    options = {"keda": {"pollingInterval": 2, "cooldownPeriod": 5}, "hpa": {}}[mode]
    values = {"workers": pools(mode=mode, min=FEWEST[mode], **options), "valkey": UNKEPT, "postgresql": UNKEPT}
    with restricted_namespace(cluster.prefix, mode) as kubectl, deployed(cluster, kubectl, values) as site, play_with(site):
        return play(site, FEWEST[mode])


@contextlib.contextmanager
def with_keda(site: Site) -> Iterator[None]:
    assert Kubectl().find("crd", "scaledobjects.keda.sh"), "this needs KEDA in the cluster"
    yield


def test_a_pool_grows_to_its_maximum_and_goes_back(seen: Seen, mode: str) -> None:
    print(f"{mode}: {seen.reaction:.1f} s from the first job to one more ready worker, {seen.to_most:.1f} s to all {MOST} of them;")
    print(f"  {seen.scale_in:.0f} s from the fall of the demand until two pods were told to stop,")
    print(f"  {seen.to_floor:.1f} s from the end of the last job to {FEWEST[mode]} workers; {len(seen.rows)} jobs in all")
    assert seen.alpha_most == MOST


def test_a_pool_whose_queues_are_empty_stays_at_its_fewest(seen: Seen, mode: str) -> None:
    assert seen.beta_most_before == FEWEST[mode]


def test_a_pool_is_scaled_by_the_sum_of_its_queues(seen: Seen) -> None:
    assert seen.beta_most == BETA_PODS


def test_no_job_is_interrupted(seen: Seen) -> None:
    assert {len(row.attempts) for row in seen.rows.values()} == {1}


def test_jobs_in_flight_end_on_pods_that_scale_in_removes(seen: Seen) -> None:
    for gone in seen.removed:
        [job] = [seen.rows[job] for job, pod in seen.lasting.items() if pod == gone.pod]
        assert job.started is not None
        assert job.started < gone.told < job.finished, "it was not in flight when its pod was told to stop"
        assert job.finished - job.started > LASTING - 1  # their clock has milliseconds, the nap its own
        assert job.outcomes() == ["succeeded"]
        assert job.attempts[0]["worker"].startswith(gone.pod)


def test_pods_that_are_removed_hand_nothing_back(seen: Seen) -> None:
    for gone in seen.removed:
        ends = [(line["handed_back"], line["left_behind"]) for line in gone.log if line.get("event") == "worker_stopped"]
        assert ends == [(0, [])], gone.log
