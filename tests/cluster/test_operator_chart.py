"""The operator as the chart deploys it: in its pod, under its own ServiceAccount, and with no more rights than it needs."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from clusterkit import Cluster, Json, Kubectl, run, wait_for
from clusterkit.kubectl import is_ready
from operator_chart_support import Stand, rights, standing, values
from operator_support import create_a_thousand, job

OPERATOR = "deployment/dtq-operator"
ACCOUNTS = ("submitter", "scheduler", "worker", "valkey", "postgresql")
WANTED = {
    ("scheduledjobs.dtq.dev", "[]", "[]", "get", "list", "watch"),
    ("scheduledjobs.dtq.dev/status", "[]", "[]", "patch"),
    ("events", "[]", "[]", "create"),
}
ANSWER: Json = {"type": "data_processing", "payload": {"sql": "SELECT 6 * 7 AS answer", "inputs": {}}}


@pytest.fixture(scope="module")
def stand(cluster: Cluster, new_namespace: Callable[[str], Kubectl]) -> Iterator[Stand]:
    with standing(cluster, new_namespace("operator")) as stand:
        stand.kubectl.apply(job("minutely", "* * * * *", ANSWER))  # the tests that need one find it running
        yield stand


# ---------------------------------------------------------------------- rights


def test_its_account_may_do_what_it_needs_and_nothing_else(stand: Stand) -> None:
    namespace = stand.kubectl.namespace
    account, nobody = f"{namespace}:dtq-operator", f"{namespace}:there-is-none"
    for served in stand.served:
        assert rights(account, served) - rights(nobody, served) == WANTED
    assert rights(account, "default") == rights(nobody, "default")


@pytest.mark.parametrize("component", ACCOUNTS)
def test_the_other_accounts_may_do_nothing(stand: Stand, component: str) -> None:
    namespace = stand.kubectl.namespace
    assert stand.kubectl.find("serviceaccount", f"dtq-{component}") is not None
    for place in (*stand.served, "default"):
        assert rights(f"{namespace}:dtq-{component}", place) == rights(f"{namespace}:there-is-none", place)


def test_only_the_operators_pod_has_a_token(stand: Stand) -> None:
    with_token = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in stand.kubectl.items("pods")
        for volume in pod["spec"]["volumes"]
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", []))
    }
    assert with_token == {"operator"}


# ---------------------------------------------------------------------- what users do


def test_create(stand: Stand) -> None:
    stand.kubectl.apply(job("user"))
    for other in stand.others:
        other.apply(job("user", "1 2 3 4 *"))
    stand.ready("user")
    assert {f"{namespace}.user" for namespace in stand.served} <= set(stand.equal())


def test_edit(stand: Stand) -> None:
    run("env", "KUBE_EDITOR=sed -i s:UTC:Europe/Oslo:", "kubectl", "edit", "schj/user", "--namespace", stand.kubectl.namespace)
    stand.ready("user")
    assert stand.schedule("user")["spec"]["timeZone"] == "Europe/Oslo"
    stand.equal()


def test_suspend_and_unsuspend(stand: Stand) -> None:
    stand.patch("user", {"suspend": True})
    stand.ready("user", reason="Suspended")
    assert stand.schedule("user")["status"]["nextScheduleTime"] is None
    stand.equal()
    stand.patch("user", {"suspend": False})
    stand.ready("user")
    assert stand.schedule("user")["status"]["nextScheduleTime"] == stand.get("user")["status"]["nextScheduleTime"]
    stand.equal()


def test_rename(stand: Stand) -> None:
    old = stand.get("user")
    stand.kubectl("delete", "scheduledjob", "user")
    stand.kubectl.apply({**job("renamed"), "spec": old["spec"]})
    stand.ready("renamed")
    entries = stand.equal()
    assert f"{stand.kubectl.namespace}.user" not in entries
    assert entries[f"{stand.kubectl.namespace}.renamed"].uid != old["metadata"]["uid"]


def test_delete(stand: Stand) -> None:
    stand.kubectl("delete", "scheduledjob", "renamed")
    assert f"{stand.kubectl.namespace}.renamed" not in stand.equal()


def test_a_spec_that_cannot_be_carried_out_is_told_by_an_event(stand: Stand) -> None:
    stand.kubectl.apply(job("wrong", timeZone="Europe/Berlim"))
    assert "did you mean 'Europe/Berlin'?" in stand.until("wrong", "Accepted", "False", "UnknownTimeZone")

    def shown() -> bool:
        return "UnknownTimeZone" in stand.kubectl("describe", "scheduledjob", "wrong").out.partition("\nEvents:")[2]

    stand.wait("kubectl describe shows the event", shown)
    stand.kubectl("delete", "scheduledjob", "wrong")
    stand.equal()


# ---------------------------------------------------------------------- every minute


def test_one_for_every_minute_runs_at_its_minute(stand: Stand) -> None:
    succeeded = stand.wait("a run has succeeded", lambda: stand.schedule("minutely")["history"]["succeeded"], seconds=180)
    made = stand.api.request("GET", f"/jobs/{succeeded[0]['jobId']}").json()
    tick, submitted = (datetime.fromisoformat(text) for text in (succeeded[0]["scheduledTime"], made["submitted_at"]))
    assert tick.second == 0
    assert tick <= submitted < tick + timedelta(minutes=1), "it starts at its minute, not before and not after"
    assert made["state"] == "succeeded"
    assert made["schedule"] == f"{stand.kubectl.namespace}.minutely"
    assert made["result"]["rows"] == [[42]]


def test_its_status_shows_the_run(stand: Stand) -> None:
    stand.wait("its status shows that a run succeeded", lambda: stand.get("minutely")["status"].get("lastSuccessfulTime"), seconds=180)
    status = stand.get("minutely")["status"]
    started, done, coming = (datetime.fromisoformat(status[f"{which}Time"]) for which in ("lastSchedule", "lastSuccessful", "nextSchedule"))
    assert started + timedelta(minutes=1) == coming
    assert started - timedelta(minutes=2) < done < coming + timedelta(minutes=1)


# ---------------------------------------------------------------------- what goes wrong


def test_changes_made_while_its_pod_was_away(stand: Stand) -> None:
    names = ("changed", "deleted", "replaced", "suspended")
    stand.kubectl.apply(*map(job, names))
    stand.ready(*names)
    stand.scale(OPERATOR, 0)
    stand.patch("changed", {"schedule": "7 7 7 7 *"})
    stand.patch("suspended", {"suspend": True})
    stand.kubectl("delete", "scheduledjob", "deleted", "replaced")
    stand.kubectl.apply(job("replaced", "8 8 8 8 *"), job("created"))
    assert len(stand.differences()) == 5
    stand.scale(OPERATOR, 1)
    stand.equal()
    stand.ready("changed", "replaced", "created")
    stand.ready("suspended", reason="Suspended")


def test_changes_made_while_its_pod_is_replaced(stand: Stand) -> None:
    stand.kubectl.apply(job("moved"), job("dropped"))
    stand.ready("moved", "dropped")
    lost = stand.operator()["metadata"]["name"]
    stand.kubectl("delete", "pod", lost, "--force", "--grace-period=0")
    stand.kubectl("delete", "scheduledjob", "dropped")
    stand.patch("moved", {"schedule": "9 9 9 9 *"})
    stand.kubectl.apply(job("born"))
    [pod] = stand.release.wait_ready("operator", 1)
    assert pod["metadata"]["name"] != lost
    stand.equal()
    stand.ready("moved", "born")


def test_redis_away_and_back(stand: Stand) -> None:
    stand.kubectl.apply(job("before"), job("gone"))
    stand.ready("before", "gone")
    restarts = stand.restarts()
    stand.scale("statefulset/dtq-valkey", 0)
    stand.patch("before", {"schedule": "6 6 6 6 *"})
    stand.kubectl("delete", "scheduledjob", "gone")
    stand.kubectl.apply(job("meanwhile"))
    for name in ("before", "meanwhile"):
        assert stand.until(name, "Synced", "False", "RedisUnavailable").endswith("it will be written when Redis is back")
    stand.wait("the operator's pod is not ready", lambda: not is_ready(stand.operator()))
    stand.scale("statefulset/dtq-valkey", 1)
    stand.ready("before", "meanwhile")
    stand.equal()
    stand.wait("the operator's pod is ready", lambda: is_ready(stand.operator()))
    assert stand.restarts() == restarts, "to restart it would not help"


def test_two_at_once_do_no_harm(stand: Stand) -> None:
    stand.scale(OPERATOR, 2)
    names = [f"two-{number}" for number in range(10)]
    stand.kubectl.apply(*(job(name) for name in names), job("two-bad", timeZone="Mars/Base"))
    stand.ready(*names)
    for number, name in enumerate(names[5:]):
        stand.patch(name, {"schedule": f"{number} 3 * * *"})
    stand.kubectl("delete", "scheduledjob", *names[:5])
    stand.ready(*names[5:])
    stand.until("two-bad", "Accepted", "False", "UnknownTimeZone")
    stand.equal()
    versions = [stand.get(name)["metadata"]["resourceVersion"] for name in names[5:]]
    stand.kubectl.apply(job("two-last"))
    stand.ready("two-last")
    assert [stand.get(name)["metadata"]["resourceVersion"] for name in names[5:]] == versions, "they do not write against each other"
    events = stand.kubectl.items("events", "--field-selector=involvedObject.name=two-bad")
    assert [event["reason"] for event in events] == ["UnknownTimeZone"], "it is told once"
    stand.kubectl("scale", OPERATOR, "--replicas=1")
    stand.wait("one is left", lambda: len(stand.release.pods("operator")) == 1)
    stand.equal()


def test_a_thousand_at_once(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    created, synced = create_a_thousand(stand.kubectl, stand.wait, 180)
    with capsys.disabled():
        print(f"\n1,000 ScheduledJobs, operator in a pod: created in {created:.1f} s, all Synced {synced:.1f} s after it")
    stand.equal(seconds=120)
    collection = f"/apis/dtq.dev/v1/namespaces/{stand.kubectl.namespace}/scheduledjobs?labelSelector=many%3Dyes"
    stand.kubectl("delete", "--raw", collection)  # one request: all are gone at once
    stand.equal(seconds=120)


def test_jobs_go_on_while_the_api_server_is_down(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    stop, start = (os.environ.get(name) for name in ("APISTOP", "APISTART"))
    if not stop or not start:
        pytest.skip("APISTOP and APISTART have to be commands that stop and start the cluster's API server")
    stand.kubectl.apply(job("edited"), job("removed"))
    stand.ready("edited", "removed")
    restarts = stand.restarts()
    stand.wait("it has fired", lambda: stand.schedule("minutely")["status"]["lastScheduleTime"])
    wait_for("the end of a minute is near, so that the stop is short", lambda: 35 <= datetime.now(UTC).second < 45, seconds=60)
    stopped = time.monotonic()
    run(*shlex.split(stop))
    try:
        assert run("kubectl", "get", "--raw", "/readyz", check=False).code != 0, "it is down"
        last = stand.schedule("minutely")["status"]["lastScheduleTime"]
        fired = wait_for("the schedule fires", lambda: _later(stand, last), seconds=75)
        ended = stand.api.ended(stand.api.submit(ANSWER["type"], ANSWER["payload"]), seconds=30)
    finally:
        run(*shlex.split(start))
        wait_for("the API server answers", lambda: run("kubectl", "get", "--raw", "/readyz", check=False).code == 0, seconds=60)
    away = time.monotonic() - stopped
    assert ended["state"] == "succeeded"
    stand.wait("its status follows", lambda: stand.get("minutely")["status"]["lastScheduleTime"] >= fired)
    stand.kubectl.apply(job("after"))
    stand.patch("edited", {"schedule": "5 5 5 5 *"})
    stand.kubectl("delete", "scheduledjob", "removed")
    stand.ready("after", "edited")
    stand.equal()
    assert stand.restarts() == restarts
    with capsys.disabled():
        print(f"\nAPI server away for {away:.0f} s; {time.monotonic() - stopped - away:.1f} s after it changes were in Redis")


def _later(stand: Stand, last: str) -> str | None:
    found: str = stand.schedule("minutely")["status"]["lastScheduleTime"]
    return found if found > last else None


def test_a_namespace_deleted_with_resources_in_it(stand: Stand) -> None:
    doomed = stand.others[0]
    doomed.apply(*(job(f"doomed-{number}") for number in range(20)))
    assert len(of(doomed, stand.equal())) >= 20
    delete(doomed)
    assert of(doomed, stand.equal()) == []


def test_a_namespace_deleted_while_its_pod_was_away(stand: Stand) -> None:
    doomed = stand.others[1]
    doomed.apply(job("doomed"))
    assert f"{doomed.namespace}.doomed" in of(doomed, stand.equal())
    stand.scale(OPERATOR, 0)
    delete(doomed)
    stand.scale(OPERATOR, 1)

    def told() -> bool:
        said = f"namespace {doomed.namespace} is not compared, its schedules stay; if it is gone, take it from NAMESPACES"
        return any(said in line.get("error", "") for line in stand.logged())

    stand.wait("it says that it may not look there", told)
    stand.kubectl.apply(job("served-on"))
    stand.ready("served-on")
    host = {"ingress": {"enabled": True, "host": f"{stand.kubectl.namespace}.test"}}
    stand.release.upgrade(values(host))
    assert of(doomed, stand.equal()) == []


def of(kubectl: Kubectl, entries: Iterable[str]) -> list[str]:
    """Names of a namespace's schedules."""
    return [name for name in entries if name.startswith(f"{kubectl.namespace}.")]


def delete(kubectl: Kubectl) -> None:
    """A namespace with all that is in it."""
    kubectl("delete", "namespace", kubectl.namespace, "--timeout=120s", seconds=150)


def test_nothing_was_refused_it_and_nothing_failed(stand: Stand) -> None:
    bad = {"sync_failed", "role_failed", "status_refused", "watch_failed"}
    assert [line for line in stand.logged() if line["event"] in bad] == []
