"""What a user may write as a schedule."""

from __future__ import annotations

from typing import Any

import pytest

from dtq.errors import InvalidSchedule
from dtq.job import NewJob
from dtq.schedule.spec import ScheduleSpec, check_name, parse_spec

TEMPLATE = {"type": "email", "payload": {"to": "a@example.com"}}


def spec(**changes: Any) -> dict[str, Any]:
    return {"schedule": "@daily", "jobTemplate": TEMPLATE, **changes}


def errors(data: object) -> dict[str, str]:
    with pytest.raises(InvalidSchedule) as caught:
        parse_spec(data)
    return dict(caught.value.errors)


def test_defaults_are_those_of_the_resource() -> None:
    assert parse_spec(spec()).model_dump() == {
        "schedule": "@daily",
        "timeZone": "UTC",
        "suspend": False,
        "concurrencyPolicy": "Allow",
        "startingDeadlineSeconds": None,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
        "jobTemplate": {**TEMPLATE, "queue": "default", "priority": "normal", "timeoutSeconds": None, "maxRetries": None},
    }


def test_null_is_a_field_left_out() -> None:
    assert parse_spec(spec(timeZone=None, suspend=None, startingDeadlineSeconds=None)) == parse_spec(spec())


def test_json_text_is_read_too() -> None:
    parsed = parse_spec(spec())
    assert parse_spec(parsed.text()) == parsed


def test_the_template_makes_a_job() -> None:
    parsed = parse_spec(spec(jobTemplate={"type": "t", "payload": {"a": 1}, "queue": "q", "timeoutSeconds": 3, "maxRetries": 0}))
    assert parsed.jobTemplate.job() == NewJob("t", b'{"a":1}', "q", timeout=3.0, max_retries=0)


@pytest.mark.parametrize(
    ("changes", "path", "part"),
    [
        ({"schedule": "* * *"}, "schedule", "expected 5 fields"),
        ({"schedule": 5}, "schedule", "string"),
        ({"timeZone": ""}, "timeZone", "must not be empty"),
        ({"timeZone": "Europe/Berln"}, "timeZone", "did you mean 'Europe/Berlin'?"),
        ({"suspend": "yes"}, "suspend", "boolean"),
        ({"concurrencyPolicy": "forbid"}, "concurrencyPolicy", "'Allow', 'Forbid' or 'Replace'"),
        ({"startingDeadlineSeconds": -1}, "startingDeadlineSeconds", "greater than or equal to 0"),
        ({"successfulJobsHistoryLimit": -1}, "successfulJobsHistoryLimit", "greater than or equal to 0"),
        ({"timezone": "UTC"}, "timezone", "not a field"),
        ({"jobTemplate": {}}, "jobTemplate.type", "is required"),
        ({"jobTemplate": {**TEMPLATE, "queue": "No/queue"}}, "jobTemplate.queue", "must be 1 to 63"),
        ({"jobTemplate": {**TEMPLATE, "priority": "urgent"}}, "jobTemplate.priority", "'high', 'normal' or 'low'"),
        ({"jobTemplate": {**TEMPLATE, "timeoutSeconds": 86_401}}, "jobTemplate.timeoutSeconds", "less than or equal to 86400"),
        ({"jobTemplate": {**TEMPLATE, "timeoutSeconds": 0}}, "jobTemplate.timeoutSeconds", "greater than or equal to 1"),
        ({"jobTemplate": {**TEMPLATE, "maxRetries": 101}}, "jobTemplate.maxRetries", "less than or equal to 100"),
        ({"jobTemplate": {**TEMPLATE, "payload": []}}, "jobTemplate.payload", "dictionary"),
        ({"jobTemplate": {**TEMPLATE, "delay": 5}}, "jobTemplate.delay", "not a field"),
    ],
)
def test_errors_name_the_field_by_its_path(changes: dict[str, Any], path: str, part: str) -> None:
    found = errors(spec(**changes))
    assert list(found) == [path]
    assert part in found[path]


def test_every_wrong_field_is_named() -> None:
    assert set(errors({"schedule": "nonsense", "timeZone": "x"})) == {"schedule", "timeZone", "jobTemplate"}


@pytest.mark.parametrize("data", [None, [], 5, "not json"])
def test_something_else_is_refused(data: object) -> None:
    assert list(errors(data)) == ["spec"]


def test_a_stored_spec_is_read_whatever_the_zone_data() -> None:
    text = ScheduleSpec.model_construct(**{**parse_spec(spec()).__dict__, "timeZone": "Mars/Base"}).text()
    assert parse_spec(text, stored=True).timeZone == "Mars/Base"


@pytest.mark.parametrize("name", ["a", "0", "nightly-report", "team.nightly", f"{'n' * 63}.{'a' * 253}"])
def test_names_are_dns_subdomains(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", ".a", "a..b", "a/b", "a" * 318, "a\n", "ä", "a.-b"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        check_name(name)
    assert [path for path, _ in caught.value.errors] == ["name"]
