"""What the status of a ScheduledJob says: conditions, and events about what is wrong. A real API server, Valkey and operator."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from clusterkit.kubectl import Json
from operator_support import EMAIL, NEVER_TODAY, Stage, condition, job, staged


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("conditions") as stage:
        yield stage
        stage.equal()


def email(**payload: object) -> Json:
    return {"type": "email", "payload": {**EMAIL["payload"], **payload}}


def test_a_good_one_is_accepted_synced_and_ready(stage: Stage) -> None:
    stage.apply(job("good", timeZone="Asia/Kolkata"))
    stage.ready("good")
    resource = stage.get("good")
    assert condition(resource, "Accepted") == ("True", "Valid", "the spec can be carried out")
    assert condition(resource, "Synced") == ("True", "Written", f"Redis has it as schedule {stage.namespace}.good")
    assert condition(resource, "Ready") == ("True", "Scheduled", "a job starts at every tick")
    assert resource["status"]["observedGeneration"] == 1
    assert resource["status"]["nextScheduleTime"].endswith("-12-31T18:30:00Z")
    assert "lastScheduleTime" not in resource["status"]


def test_nothing_else_is_written_into_the_resource(stage: Stage) -> None:
    stage.apply(job("untouched"))
    stage.ready("untouched")
    meta = stage.get("untouched")["metadata"]
    assert list(meta["annotations"]) == ["kubectl.kubernetes.io/last-applied-configuration"]
    assert "finalizers" not in meta


@pytest.mark.parametrize(
    ("name", "spec", "reason", "message"),
    [
        ("minute", {"schedule": "60 * * * *"}, "InvalidSchedule", "schedule: minute '60' is outside 0-59"),
        ("sunday", {"schedule": "0 0 * * 7"}, "InvalidSchedule", "schedule: day of week '7' is outside 0-6 or SUN-SAT; write 0 for Sunday"),
        ("zone", {"timeZone": "Europe/Berlim"}, "UnknownTimeZone", "did you mean 'Europe/Berlin'?"),
        ("type", {"jobTemplate": {"type": "emial"}}, "UnknownType", "jobTemplate.type: unknown job type 'emial'; did you mean 'email'?"),
        ("field", {"jobTemplate": email(bdy="x")}, "InvalidPayload", "jobTemplate.payload.bdy: unknown field; did you mean 'body'?"),
        ("empty", {"jobTemplate": {"type": "email"}}, "InvalidPayload", "jobTemplate.payload.to: give at least one recipient"),
    ],
)
def test_a_spec_that_cannot_be_carried_out(stage: Stage, name: str, spec: Json, reason: str, message: str) -> None:
    stage.apply(job(name, **{"schedule": NEVER_TODAY, "template": None, **_arguments(spec)}))
    assert message in stage.until(name, "Accepted", "False", reason)
    resource = stage.get(name)
    assert condition(resource, "Synced")[:2] == ("False", "NotAccepted")
    assert condition(resource, "Ready") == ("False", "NotAccepted", f"{reason}: see condition Accepted")
    assert "nextScheduleTime" not in resource["status"]
    assert stage.entry(name) is None
    stage.wait("an event says so", lambda: stage.reasons(name) == [reason])
    assert message in stage.events(name)[0]["message"]


def _arguments(spec: Json) -> Json:
    return {"template" if field == "jobTemplate" else field: value for field, value in spec.items()}


def test_a_spec_is_judged_anew_when_it_is_corrected(stage: Stage) -> None:
    stage.apply(job("corrected", timeZone="Mars/Base"))
    stage.until("corrected", "Accepted", "False", "UnknownTimeZone")
    since = {found["type"]: found["lastTransitionTime"] for found in stage.get("corrected")["status"]["conditions"]}
    stage.patch("corrected", {"timeZone": "UTC"})
    stage.ready("corrected")
    resource = stage.get("corrected")
    assert resource["status"]["observedGeneration"] == 2
    assert all(found["lastTransitionTime"] >= since[found["type"]] for found in resource["status"]["conditions"])


def test_until_it_is_corrected_the_last_accepted_spec_goes_on(stage: Stage) -> None:
    stage.apply(job("spoilt", "30 2 * * *"))
    stage.ready("spoilt")
    stage.patch("spoilt", {"schedule": "99 2 * * *"})
    stage.until("spoilt", "Accepted", "False", "InvalidSchedule")
    said = condition(stage.get("spoilt"), "Synced")[2]
    assert said == "its last accepted spec goes on until this one is accepted: schedule 30 2 * * *, generation 1"
    entry = stage.entry("spoilt")
    assert entry is not None
    assert (entry.spec.schedule, entry.spec.suspend) == ("30 2 * * *", False)


def test_a_spoilt_one_can_be_suspended_without_correcting_it(stage: Stage) -> None:
    stage.apply(job("stopped"))
    stage.ready("stopped")
    stage.patch("stopped", {"schedule": "99 2 * * *"})
    stage.until("stopped", "Accepted", "False", "InvalidSchedule")
    stage.patch("stopped", {"suspend": True})
    stage.until("stopped", "Synced", "False", "NotAccepted")
    entry = stage.entry("stopped")
    assert entry is not None
    assert entry.spec.suspend
    assert entry.next is None
    assert condition(stage.get("stopped"), "Synced")[2] == "its last accepted spec stays, suspended, until this one is accepted"


def test_a_suspended_one_is_ready_but_has_no_next_tick(stage: Stage) -> None:
    stage.apply(job("suspended", suspend=True))
    stage.until("suspended", "Ready", "True", "Suspended")
    assert "nextScheduleTime" not in stage.get("suspended")["status"]


def test_the_thirtieth_of_february(stage: Stage) -> None:
    stage.apply(job("february", "0 0 30 2 *"))
    assert stage.until("february", "Ready", "False", "NeverFires") == "no date matches the schedule 0 0 30 2 *"
    assert condition(stage.get("february"), "Synced")[0] == "True"


def test_a_deadline_of_no_seconds(stage: Stage) -> None:
    stage.apply(job("deadline", startingDeadlineSeconds=0))
    said = stage.until("deadline", "Ready", "False", "NeverStarts")
    assert said == "startingDeadlineSeconds is 0, so that every tick is too late; give 10 or more, or leave it out"


def test_a_payload_that_came_past_kubectl_apply(stage: Stage) -> None:
    large = job("large", template=email(body="x" * 2**20))
    stage.kubectl("create", "--filename", "-", text=json.dumps(large))
    said = stage.until("large", "Accepted", "False", "InvalidPayload")
    assert "bytes, 262144 are allowed; put what is large into the blob store and name its key" in said


def test_a_payload_nested_deeper_than_parsers_go_disturbs_no_other(stage: Stage) -> None:
    text = json.dumps(job("deep", template=email(body="?"))).replace('"?"', '{"a":' * 3000 + "1" + "}" * 3000)
    stage.kubectl("create", "--filename", "-", text=text)
    path = "jsonpath={.status.conditions[0].message}"  # the resource itself is too deep for this test's parser too
    said = "jobTemplate.payload: is nested more than 100 levels deep"
    stage.wait("it is refused", lambda: stage.kubectl("get", "scheduledjob", "deep", f"--output={path}").out == said)
    stage.apply(job("beside"))
    stage.ready("beside")
    assert stage.operator.logged("watch_failed") == []
    stage.kubectl("delete", "scheduledjob", "deep")


def test_odd_unicode_reaches_redis_unchanged(stage: Stage) -> None:
    payload = {**EMAIL["payload"], "subject": "Größe \u202e\U0001f600 e\u0301", "body": "\u0000\ufffe\u2028 Ω"}
    stage.apply(job("unicode", template={"type": "email", "payload": payload}))
    stage.ready("unicode")
    entry = stage.entry("unicode")
    assert entry is not None
    assert entry.spec.jobTemplate.payload == payload


def test_odd_unicode_in_a_schedule_is_refused_in_words(stage: Stage) -> None:
    stage.apply(job("digits", "٣ ٤ * * *"))
    assert "minute '٣' is not understood" in stage.until("digits", "Accepted", "False", "InvalidSchedule")


@pytest.mark.parametrize("length", [200, 253])
def test_long_names(stage: Stage, length: int) -> None:
    name = "n" * length
    stage.apply(job(name))
    stage.ready(name)
    assert stage.entry(name) is not None


def test_a_long_name_has_events_too(stage: Stage) -> None:
    name = "e" * 253
    stage.apply(job(name, timeZone="Mars/Base"))
    stage.wait("its event", lambda: stage.reasons(name) == ["UnknownTimeZone"])


def test_types_of_handlers_modules_are_known(stage: Stage) -> None:
    stage.apply(job("greet", template={"type": "greet", "payload": {"name": "Ada"}}))
    stage.ready("greet")
