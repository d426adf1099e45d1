"""Pods that are lost while jobs are submitted and run: what was accepted ends, exactly once."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from clusterkit import Cluster, Json, Kubectl, wait_for
from clusterkit.front import reachable
from clusterkit.kubectl import is_ready
from scalekit import Load, Replicas, Site, deployed
from scalekit.rows import Row

WORKERS = 2
DRAINED = "drained-by-test"
"""Label of the release's pods, so that draining the node leaves those of others alone."""
QUEUES = ["killed", "killed-lasting", "valkey", "postgresql", "drained", "drained-lasting"]
SCALING: Json = {
    "mode": "keda",
    "max": 3,
    "pollingInterval": 2,
    "cooldownPeriod": 5,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 1}]}},
}
"""Without the default's patience: it would hide that pods are removed."""


@pytest.fixture(scope="module")
def site(cluster: Cluster, new_namespace: Callable[[str], Kubectl]) -> Iterator[Site]:
    kubectl = new_namespace("faults")
    values: Json = {
        "commonLabels": {DRAINED: kubectl.namespace},
        "workers": {
            "fixed": {"queues": QUEUES, "replicas": WORKERS, "concurrency": 40},
            "scaled": {"queues": ["scaled-one", "scaled-two"], "concurrency": 2, "autoscaling": SCALING},
        },
    }
    with deployed(cluster, kubectl, values) as site:
        yield site


def delete(site: Site, pod: str, *options: str) -> float:
    """Delete a pod without waiting for its end; when that was (monotonic)."""
    now = time.monotonic()
    site.kubectl("delete", "pod", pod, "--wait=false", *options)
    return now


def renewed(site: Site, pod: str, uid: str) -> float:
    """Wait until a StatefulSet's pod is there again and ready; when that was (monotonic)."""

    def there() -> bool:
        found = site.kubectl.find("pod", pod)
        return found is not None and found["metadata"]["uid"] != uid and is_ready(found)

    wait_for(f"{pod} is there again", there, seconds=240, every=0.2, kubectl=site.kubectl)
    return time.monotonic()


def uid_of(site: Site, pod: str) -> str:
    return str(site.kubectl.get("pod", pod)["metadata"]["uid"])


def report(event: str, load: Load, rows: list[Row], since: float) -> None:
    twice = sum(len(row.attempts) > 1 for row in rows)
    print(f"{event}; longest time without a job accepted {load.longest_gap(since):.1f} s;")
    print(f"  {len(rows)} jobs, {twice} of them ran twice; refused meanwhile: {dict(load.refusals)}")


def all_ready(site: Site) -> None:
    """But the scaled pool: it may have a pod or none."""
    fixed = ("deployment/dtq-submitter", "deployment/dtq-scheduler", "deployment/dtq-worker-fixed")
    for name in (*fixed, "statefulset/dtq-valkey", "statefulset/dtq-postgresql"):
        site.kubectl("rollout", "status", name, "--timeout=240s", seconds=260)


def test_jobs_of_a_worker_killed_in_mid_job_run_elsewhere(site: Site) -> None:
    all_ready(site)
    load = Load(site.api, "killed")
    with load.running():
        job = site.nap("killed-lasting", 15)
        [pod] = wait_for("the job runs", lambda: site.pods_of([job]), every=0.1).values()
        killed = delete(site, pod, "--force", "--grace-period=0")

        def again() -> str | None:
            attempts = site.job(job)["attempts"]
            return str(attempts[-1]["worker"]) if len(attempts) == 2 else None

        worker = wait_for("the job runs again", again, seconds=120, every=0.1, kubectl=site.kubectl)
        print(f"worker killed: its job ran again after {time.monotonic() - killed:.1f} s")
    assert not worker.startswith(pod)
    assert site.api.ended(job, seconds=120)["result"] == 2
    [row] = site.check_ends({job}, "killed-lasting")
    assert row.outcomes() == ["lost", "succeeded"]
    rows = site.check_ends(set(load.accepted.values()), "killed")
    assert {row.state for row in rows} == {"succeeded"}
    assert not load.refusals, "submitting does not depend on workers"
    report("meanwhile", load, rows, killed)


def test_a_worker_told_to_stop_while_it_starts_does_not_go_on(site: Site) -> None:
    """As the first process of its container it would ignore the signal, unless it has a handler from the start."""
    all_ready(site)
    selector = ("pods", "--selector", "dtq.dev/pool=fixed")
    known = {pod["metadata"]["name"] for pod in site.kubectl.items(*selector)}
    delete(site, sorted(known)[0])

    def starting() -> str | None:
        for pod in site.kubectl.items(*selector):
            states = [status["state"] for status in pod["status"].get("containerStatuses", [])]
            if pod["metadata"]["name"] not in known and any("running" in state for state in states):
                return str(pod["metadata"]["name"])
        return None

    pod = wait_for("the new worker's container runs", starting, every=0.05, kubectl=site.kubectl)
    told = delete(site, pod)
    wait_for(f"{pod} is gone", lambda: site.kubectl.find("pod", pod) is None, seconds=90, kubectl=site.kubectl)  # of its 330 s
    print(f"a worker told to stop while it started was gone after {time.monotonic() - told:.1f} s")


def test_valkeys_pod_deleted_under_load(site: Site) -> None:
    all_ready(site)
    pod = "dtq-valkey-0"
    uid = uid_of(site, pod)
    load = Load(site.api, "valkey")
    with load.running():
        deleted = delete(site, pod)
        ready = renewed(site, pod, uid)
        load.more(20)
    rows = site.check_ends(set(load.accepted.values()), "valkey")
    assert {row.state for row in rows} == {"succeeded"}
    report(f"Valkey's pod deleted: ready again after {ready - deleted:.1f} s", load, rows, deleted)


def test_postgresqls_pod_deleted_under_load(site: Site) -> None:
    all_ready(site)
    pod = "dtq-postgresql-0"
    uid = uid_of(site, pod)
    load = Load(site.api, "postgresql")
    with load.running():
        deleted, wall = delete(site, pod), time.time()
        gone = wait_for("PostgreSQL does not answer", lambda: time.time() if site.rows("postgresql") is None else None, every=0.1)
        ready = renewed(site, pod, uid)
        back = time.time()
        load.more(20)
    rows = site.check_ends(set(load.accepted.values()), "postgresql")
    took = time.monotonic() - ready
    meanwhile = [row for row in rows if gone < row.finished < back]
    report(f"PostgreSQL's pod deleted: away after {gone - wall:.1f} s, ready again after {ready - deleted:.1f} s", load, rows, deleted)
    print(f"  {len(meanwhile)} jobs ended while it was away; all rows were there {took:.1f} s after it was back")
    assert meanwhile, "jobs end while PostgreSQL is away"
    assert {(row.state, len(row.attempts)) for row in rows} == {("succeeded", 1)}
    assert not load.refusals, "submitting does not depend on PostgreSQL"


def pods(site: Site) -> set[str]:
    """All pods of the release, as NAME/UID: those of a StatefulSet keep their names."""
    found = site.kubectl.items("pods", "--selector", f"{DRAINED}={site.kubectl.namespace}")
    return {f"{pod['metadata']['name']}/{pod['metadata']['uid']}" for pod in found}


@contextlib.contextmanager
def draining(site: Site, node: str) -> Iterator[subprocess.Popen[str]]:
    """`kubectl drain` for the release's pods; at the end the node is as before."""
    selector = f"--pod-selector={DRAINED}={site.kubectl.namespace}"
    command = ["kubectl", "drain", node, selector, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=400s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as drain:
        try:
            yield drain
        finally:
            drain.terminate()
            Kubectl()("uncordon", node)


def test_node_drained_under_load(site: Site) -> None:
    """Where there is one node, the pods have nowhere to go until it may be used again: that is when Valkey and PostgreSQL are gone."""
    all_ready(site)
    before = pods(site)
    servers = {name for name in before if name.startswith(("dtq-valkey", "dtq-postgresql"))}
    node = site.kubectl.get("pod", "dtq-valkey-0")["spec"]["nodeName"]
    load = Load(site.api, "drained")
    with load.running():
        lasting = [site.nap("drained-lasting", 15) for _ in range(4)]
        wait_for("they run", lambda: site.pods_of(lasting), every=0.1)
        began = time.monotonic()
        with draining(site, node) as drain:
            wait_for("Valkey and PostgreSQL are evicted", lambda: not servers & pods(site), seconds=120, every=0.2, kubectl=site.kubectl)
            Kubectl()("uncordon", node)
            told, _ = drain.communicate(timeout=420)
        assert drain.returncode == 0, told
        all_ready(site)
        recovered = time.monotonic()
        load.more(20)
    assert not before & pods(site), "a pod was not evicted"
    assert "would violate the pod's disruption budget" in told, "submitters, schedulers and workers go one after the other"
    rows = site.check_ends(set(load.accepted.values()), "drained")
    ends = site.check_ends(set(lasting), "drained-lasting")
    assert {row.state for row in [*rows, *ends]} == {"succeeded"}
    report(f"node drained: all pods were replaced after {recovered - began:.1f} s", load, rows, began)
    print(f"of {len(ends)} jobs in flight {sum(len(row.attempts) > 1 for row in ends)} ran twice")


def test_a_scaled_pool_keeps_its_pods_while_nobody_can_tell_its_demand(site: Site) -> None:
    all_ready(site)
    with Replicas.watched(site) as watch:
        watch.until("scaled", 0, 0)
        held = [site.nap(queue, 250) for queue in ("scaled-one", "scaled-two") for _ in range(3)]
        watch.until("scaled", 3, 3)
        wait_for("all jobs run", lambda: site.pods_of(held), kubectl=site.kubectl)
        with without_submitters(site):
            wait_for("KEDA has asked in vain for long", lambda: failures(site) >= 20, seconds=180, kubectl=site.kubectl)
        wait_for("KEDA knows the demand again", lambda: failures(site) == 0, seconds=180, kubectl=site.kubectl)
        assert watch.most("scaled") == 3
        assert watch.least_since("scaled", 3) == 3, "pods were removed"
        assert {len(site.job(job)["attempts"]) for job in held} == {1}
        site.cancel(*held)
        watch.until("scaled", 0, 0)
    site.check_ends(set(held), "scaled-one", "scaled-two")


def failures(site: Site) -> int:
    """How often in turn KEDA could not ask for the demand of a queue."""
    health = site.kubectl.get("scaledobject", "dtq-worker-scaled")["status"].get("health", {})
    return max((int(metric.get("numberOfFailures", 0)) for metric in health.values()), default=0)


@contextlib.contextmanager
def without_submitters(site: Site) -> Iterator[None]:
    site.kubectl("scale", "deployment", "dtq-submitter", "--replicas=0")
    try:
        yield
    finally:
        site.kubectl("scale", "deployment", "dtq-submitter", "--replicas=2")
        site.release.wait_ready("submitter", 2)
        reachable(site.api, site.kubectl)
