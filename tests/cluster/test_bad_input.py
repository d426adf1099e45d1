"""Bad input to a release: a clear message where users look first, and nothing else is disturbed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from clusterkit import Json, Kubectl, wait_for
from clusterkit.front import Front
from operator_support import EMAIL, condition, job

MIB = 2**20
LONG = f"{'long-' * 40}"[:199] + "x"
ODD = ["Größe", "\u202eabc\u202d", "e\u0301", "\U0001f9d1\u200d\U0001f680", "\ufffe\u2028\ufeff", "'; DROP TABLE x; --", "\\u0000"]
WORDS: Json = {"rows": [{"word": word} for word in ODD]}
ECHO: Json = {"type": "data_processing", "payload": {"sql": "SELECT word FROM odd", "inputs": {"odd": WORDS}}}


@pytest.fixture(scope="module")
def kubectl(front: Front) -> Kubectl:
    """In the namespace of the release, where ScheduledJobs fire each minute: the last tests look at what they did meanwhile."""
    kubectl = front.release.kubectl
    kubectl.apply(job(LONG, "* * * * *", ECHO), job("too-late", "* * * * *", startingDeadlineSeconds=0))
    return kubectl


@pytest.fixture(scope="module")
def restarts(front: Front, kubectl: Kubectl) -> Callable[[], dict[str, int]]:
    """Numbers of restarts by pod."""

    def count() -> dict[str, int]:
        everything = kubectl.items("pods", f"--selector=app.kubernetes.io/instance={front.release.name}")
        pods = [pod for pod in everything if "deletionTimestamp" not in pod["metadata"]]
        return {pod["metadata"]["name"]: sum(each["restartCount"] for each in pod["status"]["containerStatuses"]) for pod in pods}

    return count


@pytest.fixture(scope="module", autouse=True)
def before(restarts: Callable[[], dict[str, int]]) -> dict[str, int]:
    """The same at the start."""
    return restarts()


def until(kubectl: Kubectl, name: str, kind: str, status: str, reason: str) -> str:
    """Wait for a condition of a ScheduledJob; its message."""

    def holds() -> str | None:
        found = condition(kubectl.get("scheduledjob", name), kind)
        return found[2] if found[:2] == (status, reason) else None

    return wait_for(f"{name} is {kind}={status} ({reason})", holds, kubectl=kubectl)


def email(**payload: str) -> Json:
    return {"type": "email", "payload": {**EMAIL["payload"], **payload}}


# ---------------------------------------------------------------------- payloads


def test_a_payload_of_a_mib_is_refused_by_kubectl_apply(kubectl: Kubectl) -> None:
    answer = kubectl.apply(job("large-applied", template=email(body="x" * MIB)), check=False)
    assert answer.code != 0
    assert "Too long: may not be more than 262144 bytes" in answer.err
    assert kubectl.find("scheduledjob", "large-applied") is None


def test_a_payload_of_a_mib_that_kubectl_create_lets_through_is_not_accepted(kubectl: Kubectl) -> None:
    kubectl("create", "--filename", "-", text=json.dumps(job("large", template=email(body="x" * MIB))))
    said = until(kubectl, "large", "Accepted", "False", "InvalidPayload")
    assert "bytes, 262144 are allowed; put what is large into the blob store and name its key" in said
    assert columns(kubectl, "large")["READY"] == "False"
    kubectl("delete", "scheduledjob", "large")


def test_a_payload_larger_than_the_server_takes_is_refused_by_kubectl(kubectl: Kubectl) -> None:
    answer = kubectl("create", "--filename", "-", text=json.dumps(job("huge", template=email(body="x" * 4 * MIB))), check=False)
    assert answer.code != 0
    assert "too large" in answer.err.lower()


# ---------------------------------------------------------------------- names


def test_a_name_longer_than_kubernetes_allows_is_refused_by_kubectl(kubectl: Kubectl) -> None:
    answer = kubectl.apply(job("n" * 254), check=False)
    assert answer.code != 0
    assert "must be no more than 253" in answer.err


def test_a_name_of_another_alphabet_is_refused_by_kubectl(kubectl: Kubectl) -> None:
    answer = kubectl.apply(job("größe"), check=False)
    assert answer.code != 0
    assert "a lowercase RFC 1123 subdomain must consist of" in answer.err


# ---------------------------------------------------------------------- schedules


def test_the_thirtieth_of_february(kubectl: Kubectl) -> None:
    kubectl.apply(job("february", "0 0 30 2 *"))
    assert until(kubectl, "february", "Ready", "False", "NeverFires") == "no date matches the schedule 0 0 30 2 *"
    assert "nextScheduleTime" not in kubectl.get("scheduledjob", "february")["status"]
    shown = columns(kubectl, "february")
    assert (shown["READY"], shown["NEXT"]) == ("False", "")
    kubectl("delete", "scheduledjob", "february")


def test_a_deadline_of_no_seconds(kubectl: Kubectl) -> None:
    said = until(kubectl, "too-late", "Ready", "False", "NeverStarts")
    assert said == "startingDeadlineSeconds is 0, so that every tick is too late; give 10 or more, or leave it out"


def columns(kubectl: Kubectl, name: str) -> dict[str, str]:
    """What `kubectl get` shows of a ScheduledJob: a column's text by its heading."""
    head, line = kubectl("get", "scheduledjob", name).out.splitlines()
    starts = [index for index, letter in enumerate(head) if letter != " " and (index == 0 or head[index - 1] == " ")]
    return {head[a:b].strip(): line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)}


# ---------------------------------------------------------------------- and the rest goes on


def test_one_with_a_long_name_and_an_odd_payload_runs_at_its_minute(front: Front, kubectl: Kubectl) -> None:
    assert len(LONG) == 200
    path = f"/schedules/{kubectl.namespace}.{LONG}"

    def ended() -> list[Json]:
        history = front.api.request("GET", path).json()["history"]
        return [*history["failed"], *history["succeeded"]]

    run = wait_for("a run has ended", ended, seconds=150, every=1, kubectl=kubectl)[0]
    made = front.api.request("GET", f"/jobs/{run['jobId']}").json()
    assert made["state"] == "succeeded", made
    assert made["result"]["rows"] == [[word] for word in ODD]


def test_one_that_is_always_too_late_has_started_nothing(front: Front, kubectl: Kubectl) -> None:
    found = wait_for(
        "a tick was missed",
        lambda: front.api.request("GET", f"/schedules/{kubectl.namespace}.too-late").json()["history"]["events"],
        seconds=150,
        every=1,
        kubectl=kubectl,
    )
    assert {event["reason"] for event in found} == {"MissSchedule"}
    assert "lastScheduleTime" not in kubectl.get("scheduledjob", "too-late")["status"]


def test_nothing_else_was_disturbed(front: Front, kubectl: Kubectl, restarts: Callable[[], dict[str, int]], before: dict[str, int]) -> None:
    kubectl.apply(job("good"))
    until(kubectl, "good", "Ready", "True", "Scheduled")
    assert front.api.ended(front.api.submit("data_processing", {"sql": "SELECT 1 AS one", "inputs": {}}))["state"] == "succeeded"
    assert restarts() == before
    kubectl("delete", "scheduledjob", "good", "too-late", LONG)
