"""Conditions, status and its patches; which events are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dtq.schedule.entry import Entry, Event
from dtq.schedule.spec import parse_spec
from dtq_operator.accept import Accepted, Refused, Verdict
from dtq_operator.conditions import Unwritten, conditions, merge
from dtq_operator.resource import Resource, parse_resource
from dtq_operator.status import difference, of_runs, of_spec, operations
from dtq_operator.telling import OLDEST_MS, event_object, to_tell

SPEC = parse_spec({"schedule": "@daily", "jobTemplate": {"type": "email"}})
NOW = "2026-03-01T00:00:00Z"


def entry(**fields: Any) -> Entry:
    given = {"name": "ns.a", "uid": "u", "generation": 1, "owner": "c/ns", "spec": SPEC, "created": 0, "next": 86_400_000, **fields}
    return Entry(**given)


def resource(**fields: Any) -> Resource:
    return replace(Resource("ns", "a", "u", 1, 0, deleting=False, spec={}, status={}), **fields)


def shown(verdict: Verdict, written: Entry | Unwritten | None) -> dict[str, tuple[str, str]]:
    return {found["type"]: (found["status"], found["reason"]) for found in conditions(verdict, written, 1)}


def test_written_is_ready() -> None:
    assert shown(Accepted(SPEC), entry()) == {"Accepted": ("True", "Valid"), "Synced": ("True", "Written"), "Ready": ("True", "Scheduled")}


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"suspend": True}, "True", "Suspended"),
        ({"schedule": "0 0 30 2 *"}, "False", "NeverFires"),
        ({"startingDeadlineSeconds": 0}, "False", "NeverStarts"),
        ({"startingDeadlineSeconds": 1}, "True", "Scheduled"),
    ],
)
def test_ready_says_whether_jobs_will_start(changes: dict[str, Any], status: str, reason: str) -> None:
    spec = SPEC.model_copy(update=changes)
    written = entry(spec=spec, next=86_400_000 if reason in ("Scheduled", "NeverStarts") else None)
    assert shown(Accepted(spec), written)["Ready"] == (status, reason)


def test_refused_is_neither_synced_nor_ready() -> None:
    verdict = Refused("UnknownType", "no")
    assert shown(verdict, None) == {
        "Accepted": ("False", "UnknownType"),
        "Synced": ("False", "NotAccepted"),
        "Ready": ("False", "NotAccepted"),
    }


def test_a_refused_spec_that_was_suspended_names_no_generation_as_accepted() -> None:
    suspended = entry(generation=3, spec=SPEC.model_copy(update={"suspend": True}))
    synced = conditions(Refused("UnknownType", "no"), suspended, 3)[1]
    assert synced["message"] == "its last accepted spec stays, suspended, until this one is accepted"
    goes_on = conditions(Refused("UnknownType", "no"), entry(generation=2), 3)[1]
    assert goes_on["message"].endswith("schedule @daily, generation 2")


def test_accepted_but_not_written() -> None:
    assert shown(Accepted(SPEC), Unwritten("RedisUnavailable", "away")) == {
        "Accepted": ("True", "Valid"),
        "Synced": ("False", "RedisUnavailable"),
        "Ready": ("False", "NotSynced"),
    }


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    before = [{"type": "Ready", "status": "True", "reason": "Scheduled", "message": "", "lastTransitionTime": "then"}]
    stays = merge(before, [{"type": "Ready", "status": "True", "reason": "Suspended", "message": ""}], NOW)
    turns = merge(before, [{"type": "Ready", "status": "False", "reason": "NeverFires", "message": ""}], NOW)
    assert (stays[0]["lastTransitionTime"], stays[0]["reason"]) == ("then", "Suspended")
    assert turns[0]["lastTransitionTime"] == NOW


def test_conditions_of_others_stay() -> None:
    other = {"type": "Audited", "status": "True"}
    assert other in merge([other], [{"type": "Ready", "status": "True"}], NOW)


def test_the_status_shows_ticks_and_runs() -> None:
    runs = of_runs(entry(last=1_000, success=2_000))
    assert runs == {
        "lastScheduleTime": "1970-01-01T00:00:01Z",
        "lastSuccessfulTime": "1970-01-01T00:00:02Z",
        "nextScheduleTime": "1970-01-02T00:00:00Z",
        "active": [],
        "activeCount": 0,
    }


def test_a_status_that_agrees_is_not_written_again() -> None:
    wanted = of_spec(resource(), Accepted(SPEC), entry(), NOW)
    written = {field: value for field, value in wanted.items() if value not in (None, [], 0)}
    later = of_spec(resource(status=written), Accepted(SPEC), entry(), "2027-01-01T00:00:00Z")
    assert difference(written, later) == {}


def test_only_what_differs_is_written() -> None:
    current = {"nextScheduleTime": "x", "lastScheduleTime": "y", "activeCount": 2}
    assert difference(current, {"nextScheduleTime": None, "lastScheduleTime": "y", "activeCount": 0, "active": []}) == {
        "nextScheduleTime": None,
        "activeCount": 0,
    }


def test_the_first_status_is_written_whole() -> None:
    assert operations(resource(), {"observedGeneration": 1, "lastScheduleTime": None}) == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "add", "path": "/status", "value": {"observedGeneration": 1}},
    ]


def test_a_later_one_field_by_field() -> None:
    assert operations(resource(status={"activeCount": 1, "nextScheduleTime": "x"}), {"activeCount": 0, "nextScheduleTime": None}) == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "add", "path": "/status/activeCount", "value": 0},
        {"op": "remove", "path": "/status/nextScheduleTime"},
    ]


def test_what_is_in_a_resource() -> None:
    found = parse_resource(
        {
            "metadata": {"namespace": "ns", "name": "a.b", "uid": "u", "generation": 3, "creationTimestamp": "1970-01-01T00:01:00Z"},
            "spec": {"schedule": "@daily"},
            "status": {"lastScheduleTime": "1970-01-01T00:02:00Z"},
        }
    )
    assert (found.key, found.entry, found.generation, found.created, found.last) == (("ns", "a.b"), "ns.a.b", 3, 60_000, 120_000)
    assert not found.deleting
    assert found.without_spec().spec == {}


def test_a_time_somebody_wrote_wrongly_is_no_time() -> None:
    assert resource(status={"lastScheduleTime": "yesterday"}).last is None


def test_events_are_told_in_their_order_and_not_when_they_are_old() -> None:
    now = 10 * OLDEST_MS
    events = [Event("C", "", now), Event("B", "", now - 1), Event("A", "", now - OLDEST_MS)]
    assert [event.reason for event in to_tell(events, 0, now)] == ["B", "C"]
    assert [event.reason for event in to_tell(events, now - 1, now)] == ["C"]


def test_an_event_told_twice_has_one_name() -> None:
    once = event_object(resource(), Event("MissSchedule", "m", 5_000))
    assert once == event_object(resource(), Event("MissSchedule", "m", 5_000))
    assert once["metadata"]["name"] != event_object(resource(), Event("MissSchedule", "m", 6_000))["metadata"]["name"]
    assert (once["firstTimestamp"], once["involvedObject"]["uid"], once["type"]) == ("1970-01-01T00:00:05Z", "u", "Warning")


@pytest.mark.parametrize("name", ["n" * 253, f"{'n' * 199}.{'m' * 50}"])
def test_an_events_name_fits(name: str) -> None:
    found = event_object(resource(name=name), Event("MissSchedule", "m", 5_000))["metadata"]["name"]
    assert len(found) <= 253
    assert ".." not in found
