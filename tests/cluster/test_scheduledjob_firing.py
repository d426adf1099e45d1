"""What the scheduler does with a ScheduledJob, as its status and events show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from clusterkit.kubectl import Json
from operator_support import GREET, NEVER_TODAY, Program, Stage, job, staged


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Operator and scheduler run, but no worker: runs stay active. Three resources look as if they had been there for long."""
    with staged("firing", start=False) as stage:
        long_ago = datetime.now(UTC) - timedelta(days=400)
        put_as_of(stage, job("overdue", NEVER_TODAY, GREET), long_ago)
        put_as_of(stage, job("expired", NEVER_TODAY, GREET, startingDeadlineSeconds=10), long_ago)
        put_as_of(stage, job("many", "*/5 * * * *", GREET), datetime.now(UTC) - timedelta(days=3))
        stage.program("dtq_scheduler").start()
        stage.operator.start()
        yield stage
        stage.equal()


@pytest.fixture(scope="module")
def worker(stage: Stage) -> Program:
    return stage.program("dtq_worker")


def put_as_of(stage: Stage, resource: Json, last: datetime) -> None:
    """A resource whose last start was then: as in a cluster that was restored from a backup."""
    stage.apply(resource)
    patch = json.dumps({"status": {"lastScheduleTime": last.strftime("%Y-%m-%dT%H:%M:%SZ")}})
    stage.kubectl("patch", "scheduledjob", resource["metadata"]["name"], "--subresource=status", "--type=merge", f"--patch={patch}")


def status(stage: Stage, name: str) -> Json:
    found: Json = stage.get(name)["status"]
    return found


def active(stage: Stage, name: str) -> list[str]:
    return [run["jobId"] for run in status(stage, name).get("active", [])]


def test_a_missed_tick_starts_and_the_status_shows_it(stage: Stage) -> None:
    stage.wait("a run is active", lambda: active(stage, "overdue"))
    shown = status(stage, "overdue")
    year = datetime.now(UTC).year
    assert shown["lastScheduleTime"] == f"{year}-01-01T00:00:00Z"
    assert shown["nextScheduleTime"] == f"{year + 1}-01-01T00:00:00Z"
    assert shown["activeCount"] == 1
    assert shown["active"][0]["scheduledTime"] == f"{year}-01-01T00:00:00Z"
    assert stage.kubectl("get", "schj", "overdue").out.splitlines()[1].split()[8:11:2] == ["1", f"{year + 1}-01-01T00:00:00Z"]


def test_a_tick_past_its_deadline_is_told(stage: Stage) -> None:
    stage.wait("the event", lambda: stage.reasons("expired") == ["MissSchedule"])
    event = stage.events("expired")[0]
    assert event["type"] == "Warning"
    assert event["message"] == f"the job of {datetime.now(UTC).year}-01-01T00:00:00Z was not started within 10 s"
    assert active(stage, "expired") == []


def test_too_many_missed_ticks_are_told_and_one_starts(stage: Stage) -> None:
    stage.wait("the event", lambda: stage.reasons("many") == ["TooManyMissedTimes"])
    stage.wait("a run is active", lambda: len(active(stage, "many")) == 1)


def test_events_are_shown_by_kubectl_describe(stage: Stage) -> None:
    stage.wait("the event", lambda: "MissSchedule" in stage.kubectl("describe", "schj", "expired").out)


def test_an_event_is_told_once_also_by_an_operator_started_anew(stage: Stage) -> None:
    stage.wait("the event", lambda: stage.reasons("expired") == ["MissSchedule"])
    stage.operator.kill()
    stage.operator.start()
    stage.apply(job("later", "@every 1s", GREET, startingDeadlineSeconds=0))
    stage.wait("a later event is told", lambda: "MissSchedule" in stage.reasons("later"))
    assert stage.reasons("expired") == ["MissSchedule"]
    stage.kubectl("delete", "schj", "later")


def test_a_changed_schedule_takes_effect_at_once(stage: Stage) -> None:
    stage.apply(job("changed", NEVER_TODAY, GREET))
    stage.ready("changed")
    assert active(stage, "changed") == []
    stage.patch("changed", {"schedule": "@every 1s"})
    stage.wait("it fires by its new schedule", lambda: active(stage, "changed"), seconds=15)
    stage.patch("changed", {"schedule": NEVER_TODAY})
    stage.wait("the next tick is by the old one", lambda: status(stage, "changed")["nextScheduleTime"].endswith("-01-01T00:00:00Z"))


def test_suspended_it_does_not_fire_and_unsuspended_it_does(stage: Stage) -> None:
    stage.apply(job("paused", "@every 1s", GREET, suspend=True), job("running", "@every 1s", GREET))
    stage.until("paused", "Ready", "True", "Suspended")
    stage.wait("another one fires", lambda: active(stage, "running"))
    assert active(stage, "paused") == []
    stage.patch("paused", {"suspend": False})
    stage.wait("it fires", lambda: active(stage, "paused"))
    stage.patch("paused", {"suspend": True})
    stage.until("paused", "Ready", "True", "Suspended")
    assert len(active(stage, "paused")) == 1, "a run goes on though its schedule is suspended"
    stage.wait("no next tick", lambda: "nextScheduleTime" not in status(stage, "paused"))


def test_deleted_it_does_not_fire_any_more_but_its_run_goes_on(stage: Stage, worker: Program) -> None:
    stage.apply(job("gone", "@every 1s", GREET))
    stage.wait("a run is active", lambda: active(stage, "gone"))
    stage.kubectl("delete", "scheduledjob", "gone")
    stage.wait("its schedule is gone", lambda: stage.entry("gone") is None, seconds=10)
    del worker


def test_every_minute_under_each_policy_until_a_worker_comes(stage: Stage, worker: Program) -> None:
    for policy in ("Allow", "Forbid", "Replace"):
        stage.apply(job(policy.lower(), "* * * * *", GREET, concurrencyPolicy=policy))
    for name in ("allow", "forbid", "replace"):
        stage.wait(f"first run of {name}", lambda name=name: len(active(stage, name)) == 1, seconds=80)
    first = {name: active(stage, name)[0] for name in ("allow", "forbid", "replace")}
    minute = status(stage, "forbid")["lastScheduleTime"]
    assert minute.endswith(":00Z")

    stage.wait("second run of allow", lambda: len(active(stage, "allow")) == 2, seconds=80)
    stage.wait("the event of forbid", lambda: stage.reasons("forbid") == ["JobAlreadyActive"])
    assert active(stage, "forbid") == [first["forbid"]]
    assert status(stage, "forbid")["lastScheduleTime"] == minute
    stage.wait("replace has another run", lambda: len(found := active(stage, "replace")) == 1 and found[0] != first["replace"])

    worker.start()

    def ended(name: str) -> bool:
        shown = status(stage, name)
        return "lastSuccessfulTime" in shown and not shown.get("active") and not shown.get("activeCount")

    for name in ("allow", "forbid", "replace", "overdue"):
        stage.wait(f"{name} succeeded and is not active", lambda name=name: ended(name), seconds=60)
    assert status(stage, "forbid")["lastScheduleTime"] > minute, "the tick that waited starts when the run has ended"
    for name in ("allow", "forbid", "replace", "changed", "paused", "running", "many"):
        stage.kubectl("delete", "scheduledjob", name)
