"""The definition of ScheduledJob as a user meets it by kubectl: defaults, columns, refusals. No operator runs here."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from clusterkit.kubectl import Json, Kubectl
from clusterkit.namespaces import restricted_namespace
from operator_support import EMAIL, ROOT, define, job


@pytest.fixture(scope="module")
def kubectl() -> Iterator[Kubectl]:
    define()
    with restricted_namespace("op-", "definition") as kubectl:
        yield kubectl


def refusal(kubectl: Kubectl, resource: Json) -> str:
    outcome = kubectl.apply(resource, check=False)
    assert outcome.code != 0, "the API server took it"
    return outcome.err


def test_what_is_left_out_has_a_default(kubectl: Kubectl) -> None:
    kubectl.apply(job("defaults"))
    spec = kubectl.get("scheduledjob", "defaults")["spec"]
    template = spec.pop("jobTemplate")
    assert spec == {
        "schedule": "0 0 1 1 *",
        "timeZone": "UTC",
        "suspend": False,
        "concurrencyPolicy": "Allow",
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    assert template == {**EMAIL, "queue": "default", "priority": "normal"}


def test_columns(kubectl: Kubectl) -> None:
    kubectl.apply(job("columns", "*/5 * * * *", {**EMAIL, "queue": "mails"}, timeZone="Europe/Berlin"))
    narrow = kubectl("get", "schj", "columns").out.splitlines()[0].split()
    assert narrow == ["NAME", "SCHEDULE", "ZONE", "SUSPEND", "ACTIVE", "LAST", "NEXT", "READY", "AGE"]
    wide = kubectl("get", "schj", "columns", "--output=wide").out
    assert wide.splitlines()[0].split()[-2:] == ["TYPE", "QUEUE"]
    assert wide.splitlines()[1].split()[-2:] == ["email", "mails"]
    assert "*/5 * * * *   Europe/Berlin   false" in wide


@pytest.mark.parametrize(
    "schedule", ["@hourly", "@every 90s", "@every 1h30m", " 0  0 * * mon-fri ", "*/15 8-18 1,15 jan-mar ?", "0 0 30 2 *"]
)
def test_schedules_that_are_taken(kubectl: Kubectl, schedule: str) -> None:
    kubectl.apply(job("taken", schedule))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("* * * *", "must have five fields (minute, hour, day of month, month, day of week), as in '30 2 * * mon-fri', or be a macro"),
        ("* * * * * *", "must have five fields"),
        ("", "must have five fields"),
        ("@dayly", "unknown macro; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and '@every 1h30m'"),
        ("@every", "unknown macro"),
        ("@every 5", "@every takes a duration such as 90s, 15m or 1h30m"),
        ("@every day", "@every takes a duration"),
        ("TZ=Europe/Berlin 0 2 * * *", "a time zone does not belong into the schedule: put it into timeZone"),
        ("CRON_TZ=UTC 0 2 * * *", "a time zone does not belong into the schedule"),
        ("0 " * 501, "1000"),
    ],
)
def test_schedules_that_are_refused(kubectl: Kubectl, schedule: str, message: str) -> None:
    assert message in refusal(kubectl, job("refused", schedule))


def test_one_mistake_is_one_sentence(kubectl: Kubectl) -> None:
    assert refusal(kubectl, job("refused", "TZ=UTC 0 2 * * *")).count("spec.schedule") == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"timeZone": ""}, "must not be empty: leave it out for UTC, or name an IANA zone such as Europe/Berlin"),
        ({"timeZone": "LOCAL"}, "must be an IANA zone such as Europe/Berlin: Local would depend on the machine"),
        ({"concurrencyPolicy": "Maybe"}, 'supported values: "Allow", "Forbid", "Replace"'),
        ({"startingDeadlineSeconds": -1}, "should be greater than or equal to 0"),
        ({"successfulJobsHistoryLimit": 1001}, "should be less than or equal to 1000"),
        ({"failedJobsHistoryLimit": -1}, "should be greater than or equal to 0"),
        ({"suspend": "yes"}, "boolean"),
        ({"scedule": "* * * * *"}, "scedule"),
    ],
)
def test_specs_that_are_refused(kubectl: Kubectl, spec: Json, message: str) -> None:
    assert message in refusal(kubectl, job("refused", **spec))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"type": ""}, "should be at least 1 chars long"),
        ({"payload": []}, "must be of type object"),
        ({"queue": "Mails"}, "a queue's name is a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"),
        ({"queue": "q" * 64}, "63"),
        ({"priority": "top"}, 'supported values: "high", "normal", "low"'),
        ({"timeoutSeconds": 0}, "should be greater than or equal to 1"),
        ({"timeoutSeconds": 86_401}, "should be less than or equal to 86400"),
        ({"maxRetries": 101}, "should be less than or equal to 100"),
    ],
)
def test_templates_that_are_refused(kubectl: Kubectl, template: Json, message: str) -> None:
    assert message in refusal(kubectl, job("refused", template={**EMAIL, **template}))


@pytest.mark.parametrize("field", ["schedule", "jobTemplate"])
def test_what_is_required(kubectl: Kubectl, field: str) -> None:
    resource = job("refused")
    del resource["spec"][field]
    said = refusal(kubectl, resource)  # by kubectl or by the server, as the version of kubectl has it
    assert "equired" in said
    assert field in said


def test_a_write_to_the_resource_leaves_its_status_alone_and_the_other_way_round(kubectl: Kubectl) -> None:
    kubectl.apply({**job("apart"), "status": {"observedGeneration": 7}})
    before = kubectl.get("scheduledjob", "apart")
    assert "status" not in before
    both = {"spec": {"suspend": True}, "status": {"observedGeneration": 7}}
    kubectl("patch", "scheduledjob", "apart", "--subresource=status", "--type=merge", f"--patch={json.dumps(both)}")
    after = kubectl.get("scheduledjob", "apart")
    assert after["status"] == {"observedGeneration": 7}
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == 1


def test_any_payload_is_kept_as_it_is(kubectl: Kubectl) -> None:
    payload = {"to": "user@example.com", "a.b/c": [1, None, {"ü": "\u202e\U0001f600 \x00"}], "e": 1.5, "metadata": {"name": "x"}}
    kubectl.apply(job("payload", template={"type": "email", "payload": payload}))
    assert kubectl.get("scheduledjob", "payload")["spec"]["jobTemplate"]["payload"] == payload


def test_a_payload_of_a_mebibyte_is_too_much_for_kubectl_apply(kubectl: Kubectl) -> None:
    large = job("large", template={"type": "email", "payload": {"body": "x" * 2**20}})
    assert "metadata.annotations: Too long" in refusal(kubectl, large)


def test_a_payload_of_three_mebibytes_is_too_much_for_the_api_server(kubectl: Kubectl) -> None:
    large = job("large", template={"type": "email", "payload": {"body": "x" * 3 * 2**20}})
    outcome = kubectl("create", "--filename", "-", text=json.dumps(large), check=False)
    assert "Request entity too large" in outcome.err


def test_the_longest_name_is_kubernetes_own(kubectl: Kubectl) -> None:
    kubectl.apply(job("n" * 253))
    assert "must be no more than 253" in refusal(kubectl, job("n" * 254))


def test_samples_are_accepted() -> None:
    define()
    for sample in (ROOT / "examples").glob("*.yaml"):
        Kubectl()("apply", "--dry-run=server", "--validate=strict", "--filename", str(sample))
