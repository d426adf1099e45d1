"""Worker pools scaled by KEDA: each from 0 to its maximum and back to 0 by the demand of its own queues."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clusterkit import Cluster, Kubectl
from scalekit import deployed
from scalekit.adapter import restore
from scalekit.story import BETA_PODS, LASTING, MOST, Seen, play, pools


@pytest.fixture(scope="module")
def seen(cluster: Cluster, new_namespace: Callable[[str], Kubectl]) -> Seen:
    restore()
    assert Kubectl().find("crd", "scaledobjects.keda.sh"), "this needs KEDA in the cluster"
    workers = pools(mode="keda", min=0, pollingInterval=2, cooldownPeriod=5)
    with deployed(cluster, new_namespace("keda"), {"workers": workers}) as site:
        return play(site, floor=0)


def test_a_pool_grows_from_0_to_its_maximum_and_goes_back_to_0(seen: Seen) -> None:
    print(f"KEDA: {seen.reaction:.1f} s from the first job to the first ready worker, {seen.to_most:.1f} s to all {MOST};")
    print(f"KEDA: {seen.to_floor:.1f} s from the end of the last job to no worker")
    assert seen.alpha_most == MOST


def test_a_pool_whose_queues_are_empty_stays_at_0(seen: Seen) -> None:
    assert seen.beta_most_before == 0


def test_a_pool_is_scaled_by_the_sum_of_its_queues(seen: Seen) -> None:
    assert seen.beta_most == BETA_PODS


def test_every_job_ends_once(seen: Seen) -> None:
    attempts = {len(row.attempts) for row in seen.rows.values()}
    print(f"{len(seen.rows)} jobs")
    assert attempts == {1}, "a job was interrupted"


def test_jobs_in_flight_are_not_interrupted_by_scale_in(seen: Seen) -> None:
    for gone in seen.removed:
        [job] = [seen.rows[job] for job, pod in seen.lasting.items() if pod == gone.pod]
        assert job.started is not None
        assert job.started < gone.told < job.finished, "it was not in flight when its pod was told to stop"
        assert job.finished - job.started >= LASTING
        assert job.outcomes() == ["succeeded"]
        assert job.attempts[0]["worker"].startswith(gone.pod)


def test_pods_that_are_removed_hand_nothing_back(seen: Seen) -> None:
    for gone in seen.removed:
        ends = [(line["handed_back"], line["left_behind"]) for line in gone.log if line.get("event") == "worker_stopped"]
        assert ends == [(0, [])], gone.log
