"""Resources become schedules: created, changed, deleted, many, and by two operators at once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pytest
from clusterkit.kubectl import Kubectl
from operator_support import EMAIL, Stage, condition, create_a_thousand, job, staged

from dtq.config import load_settings
from dtq.queue import Queue
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import ScheduleStore


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    # The resync would hide that a watch is not working: it comes too late to help.
    with staged("sync", resync=600) as stage:
        yield stage
        stage.equal()
        assert stage.operator.stop() == 0
        assert stage.operator.logged("sync_failed") == stage.operator.logged("role_failed") == []


def test_create_change_delete(stage: Stage) -> None:
    stage.apply(job("a"))
    stage.ready("a")
    stage.equal()
    stage.patch("a", {"schedule": "5 4 * * *", "timeZone": "Europe/Oslo", "jobTemplate": {"queue": "other", "priority": "low"}})
    stage.ready("a")
    stage.equal()
    stage.kubectl("delete", "scheduledjob", "a")
    stage.equal(seconds=10)
    assert stage.entry("a") is None


def test_renamed_that_is_one_deleted_and_another_created(stage: Stage) -> None:
    stage.apply(job("old"))
    stage.ready("old")
    stage.kubectl("delete", "scheduledjob", "old")
    stage.apply(job("new"))
    stage.ready("new")
    stage.equal(seconds=10)


def test_deleted_and_made_again_it_begins_anew(stage: Stage) -> None:
    stage.apply(job("again", "1 1 1 1 *"))
    stage.ready("again")
    stage.kubectl("delete", "scheduledjob", "again", "--wait=false")
    stage.apply(job("again", "2 2 2 2 *"))
    stage.ready("again")
    stage.equal(seconds=10)


def test_labels_are_no_change(stage: Stage) -> None:
    stage.apply(job("labelled"))
    stage.ready("labelled")
    before = stage.operator.logged("scheduledjob_synced")
    stage.kubectl("label", "scheduledjob", "labelled", "team=a")
    stage.apply(job("after-label"))
    stage.ready("after-label")
    assert len(stage.operator.logged("scheduledjob_synced")) == len(before) + 1
    assert condition(stage.get("labelled"), "Ready")[0] == "True"


def test_one_that_waits_for_a_finalizer_of_somebody_else_fires_no_more(stage: Stage) -> None:
    resource = job("held")
    resource["metadata"]["finalizers"] = ["example.com/held"]
    stage.apply(resource)
    stage.ready("held")
    stage.kubectl("delete", "scheduledjob", "held", "--wait=false")
    stage.wait("its schedule is gone", lambda: stage.entry("held") is None, seconds=10)
    stage.kubectl("patch", "scheduledjob", "held", "--type=merge", '--patch={"metadata":{"finalizers":null}}')


def test_a_schedule_of_the_api_is_not_taken_over(stage: Stage) -> None:
    name = f"{stage.namespace}.taken"

    async def api(action: str) -> None:
        queue = await Queue.connect(load_settings(redisaddr=stage.valkey.url))
        store = ScheduleStore(queue.client)
        if action == "put":
            await store.put(name, parse_spec({"schedule": "@daily", "jobTemplate": EMAIL}))
        else:
            await store.delete(name)
        await queue.close()

    asyncio.run(api("put"))
    stage.apply(job("taken"))
    said = stage.until("taken", "Synced", "False", "NameTaken")
    assert said == f"schedule '{name}' is managed by the API; change it there"
    assert stage.entries()[name].owner is None
    asyncio.run(api("delete"))
    stage.patch("taken", {"schedule": "@weekly"})
    stage.ready("taken")


def test_two_operators_at_once_do_no_harm(stage: Stage) -> None:
    second = stage.program("dtq_operator").start()
    names = [f"two-{number}" for number in range(20)]
    stage.apply(*(job(name) for name in names), job("two-bad", timeZone="Mars/Base"))
    stage.ready(*names)
    for number, name in enumerate(names):
        stage.patch(name, {"schedule": f"{number} 3 * * *"})
    stage.kubectl("delete", "scheduledjob", *names[:10])
    stage.ready(*names[10:])
    stage.equal()
    stage.wait("one event", lambda: stage.reasons("two-bad") == ["UnknownTimeZone"])
    versions = [stage.get(name)["metadata"]["resourceVersion"] for name in names[10:]]
    stage.apply(job("two-last"))
    stage.ready("two-last")
    assert [stage.get(name)["metadata"]["resourceVersion"] for name in names[10:]] == versions, "they do not write against each other"
    assert second.stop() == 0


def test_a_thousand_at_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    created, synced = create_a_thousand(stage.kubectl, stage.wait, 60)
    with capsys.disabled():
        print(f"\n1,000 ScheduledJobs: kubectl create took {created:.1f} s, all were Synced {synced:.1f} s after it")
    stage.equal()
    stage.kubectl("delete", "scheduledjobs", "--all", "--wait=false", seconds=300)
    stage.equal(seconds=60)
    assert stage.entries() == {}


def test_the_metrics_tell_what_was_done(stage: Stage) -> None:
    page = stage.operator.page("metrics")
    counts = {line.split('"')[1]: float(line.split()[-1]) for line in page.splitlines() if line.startswith("dtq_operator_reconcile_total{")}
    assert counts["created"] > 1000
    assert counts["deleted"] > 1000
    assert counts["changed"] > 0
    assert counts["conflict"] > 0
    assert counts["failed"] == 0
    found = re.search(r"^dtq_operator_last_resync_timestamp_seconds (\S+)$", page, re.MULTILINE)
    assert found is not None
    assert 0 <= time.time() - float(found[1]) < 600
    assert Kubectl(stage.namespace)("get", "schj", "--ignore-not-found").out == ""
