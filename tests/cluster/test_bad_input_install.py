"""Values that cannot work: helm's own error, or the place that its notes name, says what is wrong. Real installations."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusterkit import Cluster, Json, Kubectl, Outcome, Release, run, wait_for
from clusterkit.helm import merged
from clusterkit.installed import SMALL, Installed
from clusterkit.namespaces import stop_pods
from clusterkit.settings import CHART

ONE: Json = {"replicas": 1}
FEW: Json = merged(SMALL, {"submitter": ONE, "scheduler": ONE})


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[[str], Kubectl]) -> Kubectl:
    return new_namespace("bad")


@pytest.fixture
def release(cluster: Cluster, namespace: Kubectl) -> Iterator[Release]:
    release = Release(cluster, namespace, name="bad")
    yield release
    release.helm("uninstall", release.name, "--wait", "--ignore-not-found")
    stop_pods(namespace)  # those that end would hold the claims
    namespace("delete", "persistentvolumeclaims", "--all", seconds=300)


def refused(release: Release, values: Json, chart: Path = CHART, *options: str) -> str:
    """What helm says when it refuses to install; nothing is left behind."""
    text = json.dumps(release.values(merged(FEW, values)))
    answer = release.helm("install", release.name, str(chart), "--values", "-", *options, text=text, check=False)
    assert answer.code != 0, answer.out
    assert left_behind(release.kubectl) == []
    return answer.err


def left_behind(kubectl: Kubectl) -> list[str]:
    """What a namespace has besides that which is in every one."""
    kinds = "deployments,statefulsets,pods,services,secrets,configmaps,persistentvolumeclaims,serviceaccounts,roles,rolebindings,ingresses"
    found = kubectl("get", kinds, "--output=name").out.split()
    return [name for name in found if name not in {"serviceaccount/default", "configmap/kube-root-ca.crt"}]


def noted(outcome: Outcome, words: str) -> list[str]:
    """The command of kubectl with these words that the notes of an installation show."""
    [line] = [line for line in outcome.out.splitlines() if words in line]
    return shlex.split(line[line.index("kubectl ") :])


# ---------------------------------------------------------------------- refused by helm


def test_values_that_contradict_each_other_are_told_all_at_once(release: Release) -> None:
    scaled = {"queues": ["*"], "replicas": 3, "autoscaling": {"mode": "keda"}}
    said = refused(release, {"ingress": {"enabled": True}, "workers": {"default": scaled}, "database": {"url": "postgresql://a@b/c"}})
    assert "ingress.enabled=true, but ingress.host is empty: set it to the name that clients use" in said
    assert 'workers.default.autoscaling.mode is keda, but the pool serves "*", whose demand is not that of one queue: name' in said
    assert "workers.default.replicas is set, but autoscaling.mode=keda decides how many pods there are: remove it" in said
    assert "database.url names a server of your own, but postgresql.enabled=true starts another" in said


def test_settings_of_both_kinds_of_autoscaling(release: Release) -> None:
    pool = {"queues": ["a"], "autoscaling": {"mode": "hpa", "min": 1, "cooldownPeriod": 30}}
    said = refused(release, {"workers": {"default": pool}})
    assert "workers.default.autoscaling.cooldownPeriod is for mode keda, and the mode is hpa: set mode=keda, or remove it" in said


def test_a_value_that_there_is_not(release: Release) -> None:
    said = refused(release, {"submiter": ONE})
    assert "submiter" in said
    assert "additional properties" in said


def test_an_older_definition_in_the_cluster(release: Release, tmp_path: Path) -> None:
    newer = Path(shutil.copytree(CHART, tmp_path / "dtq"))
    definition = newer / "crds" / "scheduledjobs.yaml"
    text, there = definition.read_text("utf-8"), revision()
    definition.write_text(re.sub(r'(dtq\.dev/revision: )"\d+"', rf'\g<1>"{int(there) + 1}"', text), "utf-8")
    # Without that option Helm 4 would try to renew the definition, which is everybody's; Helm 3, and any `helm upgrade`, would not.
    said = refused(release, {}, newer, "--skip-crds")
    assert f"the cluster has revision {there} of the definition scheduledjobs.dtq.dev and this chart needs {int(there) + 1}" in said
    assert "helm show crds CHART | kubectl apply --server-side --force-conflicts -f -" in said
    shown = release.helm("show", "crds", str(newer)).out
    applied = Kubectl()("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", "-", text=shown)
    assert "scheduledjobs.dtq.dev serverside-applied" in applied.out
    assert revision() == there


def revision() -> str:
    """That of the cluster's definition of ScheduledJob."""
    return str(Kubectl().get("crd", "scheduledjobs.dtq.dev")["metadata"]["annotations"]["dtq.dev/revision"])


# ---------------------------------------------------------------------- told by pods and claims


def test_no_storage_class(release: Release) -> None:
    nowhere = {"persistence": {"storageClass": "there-is-none"}}
    outcome = release.install(merged(FEW, {"valkey": nowhere, "postgresql": nowhere, "blobs": nowhere}), wait=False)
    command = noted(outcome, "describe persistentvolumeclaims")

    def told() -> bool:
        return run(*command).out.count('storageclass.storage.k8s.io "there-is-none" not found') >= 3

    wait_for("the notes' command shows why no volume can be had", told, seconds=120, every=2, kubectl=release.kubectl)
    [pod] = release.pods("valkey")
    assert pod["status"]["phase"] == "Pending"
    described = release.kubectl("describe", "pod", pod["metadata"]["name"]).out
    assert "unbound immediate PersistentVolumeClaims" in described


def test_wrong_passwords_of_the_servers(release: Release, installed: Installed) -> None:
    there = installed.release.kubectl.namespace
    values: Json = {
        "valkey": {"enabled": False},
        "postgresql": {"enabled": False},
        "redis": {"url": f"redis://:incorrect@dtq-valkey.{there}:6379"},
        "database": {"url": f"postgresql://dtq:incorrect@dtq-postgresql.{there}/dtq"},
        "blobs": {"url": "s3://nowhere/dtq"},
    }
    outcome = release.install(merged(FEW, values), wait=False)
    command = noted(outcome, "--container migrate")

    def log(*what: str) -> str:
        answer = release.kubectl("logs", *what, check=False)
        return answer.out + answer.err

    def told() -> bool:
        answer = run(*command, check=False)
        return 'password authentication failed for user "dtq"' in answer.out

    wait_for("the notes' command shows the database's refusal", told, seconds=90, kubectl=release.kubectl)

    def refusals() -> bool:
        return all(
            "invalid username-password pair" in log(f"deployment/bad-dtq-{name}", "--all-containers")
            for name in ("operator", "worker-default")
        )

    wait_for("logs of operator and worker show Redis' refusal", refusals, seconds=90, kubectl=release.kubectl)
    everything = log("--selector=app.kubernetes.io/instance=bad", "--all-containers", "--tail=-1", "--prefix")
    assert "Traceback" not in everything
    assert "incorrect" not in everything, "no password is told"


def test_a_namespace_to_serve_that_does_not_exist(release: Release) -> None:
    text = json.dumps(release.values(merged(FEW, {"operator": {"namespaces": ["there-is-none"]}})))
    answer = release.helm("install", release.name, str(CHART), "--values", "-", text=text, check=False)
    assert answer.code != 0
    assert 'namespaces "there-is-none" not found' in answer.err
