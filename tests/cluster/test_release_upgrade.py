"""`helm upgrade` and `helm rollback` while jobs are submitted all the time: none is refused, none is lost."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from clusterkit import Api, Json
from clusterkit.front import Front
from clusterkit.helm import merged
from clusterkit.kubectl import is_ready
from clusterkit.settings import CHART

SUBMITTERS = 4
MAIL: dict[str, Any] = {"to": "user@example.com", "subject": "During the upgrade", "body": "Hello."}
CHANGES: Json = {
    "config": {"RESULTTTL": 600},  # every service is replaced
    "submitter": {"replicas": 3},
    "workers": {"default": {"concurrency": 5}},
}


@dataclass
class Traffic:
    """Jobs submitted one after the other by each of several threads until it is stopped; what was answered is kept."""

    api: Api
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def during(self, action: Callable[[], object]) -> None:
        """Run an action with traffic before, during and after it."""
        with ThreadPoolExecutor(SUBMITTERS) as pool:
            running = [pool.submit(self._submit) for _ in range(SUBMITTERS)]
            try:
                self._more(50)
                action()
                self._more(50)
            finally:
                self._stop.set()
            for thread in running:
                thread.result()

    def _submit(self) -> None:
        while not self._stop.wait(0.05):  # some 60 a second in all
            try:
                answer = self.api.request("POST", "/submit", json={"type": "email", "payload": MAIL})
            except Exception as error:  # noqa: BLE001 - a connection cut off is what is looked for
                self.refused.append(repr(error))
                continue
            if answer.status_code == 202:
                self.accepted.append(answer.json()["id"])
            else:
                self.refused.append(f"{answer.status_code} {answer.text}")

    def _more(self, count: int) -> None:
        goal = len(self.accepted) + len(self.refused) + count
        while len(self.accepted) + len(self.refused) < goal and not self._stop.wait(0.1):
            pass


@pytest.fixture
def traffic(front: Front) -> Traffic:
    return Traffic(front.api)


@pytest.fixture(scope="module")
def revision(front: Front) -> str:
    """The release's revision before these tests."""
    return front.release.revision()


def ends(api: Api, jobs: list[str]) -> Counter[str]:
    with ThreadPoolExecutor(8) as pool:
        return Counter(job["state"] for job in pool.map(api.ended, jobs))


@pytest.mark.usefixtures("revision")
def test_an_upgrade_refuses_and_loses_no_job(front: Front, traffic: Traffic) -> None:
    before = {pod["metadata"]["name"] for part in ("submitter", "worker", "scheduler") for pod in front.release.pods(part)}
    traffic.during(lambda: front.release.upgrade(merged(front.values, CHANGES)))
    after = {pod["metadata"]["name"] for part in ("submitter", "worker", "scheduler") for pod in front.release.pods(part)}
    assert not before & after, "every pod was to be replaced"
    print(f"{len(traffic.accepted)} jobs were accepted during the upgrade")
    assert Counter(traffic.refused) == {}
    assert ends(front.api, traffic.accepted) == {"succeeded": len(traffic.accepted)}
    front.release.wait_ready("submitter", 3)


def test_a_rollback_refuses_and_loses_no_job(front: Front, traffic: Traffic, revision: str) -> None:
    if front.release.revision() == revision:  # this test runs alone
        front.release.upgrade(merged(front.values, CHANGES))
    traffic.during(lambda: front.release.helm("rollback", front.release.name, revision, "--wait", "--timeout", "5m"))
    print(f"{len(traffic.accepted)} jobs were accepted during the rollback")
    assert Counter(traffic.refused) == {}
    assert ends(front.api, traffic.accepted) == {"succeeded": len(traffic.accepted)}
    front.release.wait_ready("submitter", 2)


@pytest.mark.parametrize("server", ["valkey", "postgresql"])
def test_a_server_that_cannot_start_is_replaced_by_a_rollback(front: Front, server: str) -> None:
    release, good = front.release, front.release.revision()
    wrong = merged(release.values(front.values), {server: {"image": {"tag": "there-is-none"}}})
    failed = release.helm(
        *("upgrade", release.name, str(CHART), "--values", "-", "--wait", "--timeout", "15s"), text=json.dumps(wrong), check=False
    )
    assert failed.code != 0
    assert not is_ready(release.kubectl.get("pod", f"{release.name}-{server}-0"))
    release.helm("rollback", release.name, good, "--wait", "--timeout", "3m")
    assert is_ready(release.kubectl.get("pod", f"{release.name}-{server}-0"))
    assert front.api.ended(front.api.submit("data_processing", {"sql": "SELECT 1", "inputs": {}}))["state"] == "succeeded"


def test_keys_and_passwords_stay_the_same(front: Front) -> None:
    names = [front.release.name + suffix for suffix in ("-api-keys", "-valkey", "-postgresql")]
    before = [front.release.kubectl.get("secret", name)["data"] for name in names]
    front.release.upgrade(front.values)
    assert [front.release.kubectl.get("secret", name)["data"] for name in names] == before
