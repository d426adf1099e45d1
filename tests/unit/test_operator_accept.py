"""Which specs the operator accepts, and what it says of the others."""

from __future__ import annotations

from typing import Any

import pytest

from dtq.registry import load_registry
from dtq_operator.accept import MAX_DEPTH, MAX_PAYLOAD, Accepted, Acceptor, Refused

ACCEPTOR = Acceptor(load_registry(["dtq.jobs"], entry_points=False).types)
EMAIL = {"type": "email", "payload": {"to": "user@example.com", "subject": "s", "body": "b"}}


def refused(template: dict[str, Any] | None = None, **spec: object) -> Refused:
    verdict = ACCEPTOR.accept({"schedule": "@daily", "jobTemplate": template or EMAIL, **spec})
    assert isinstance(verdict, Refused)
    return verdict


def test_a_good_spec_is_parsed() -> None:
    verdict = ACCEPTOR.accept({"schedule": "@daily", "jobTemplate": EMAIL})
    assert isinstance(verdict, Accepted)
    assert (verdict.spec.schedule, verdict.spec.timeZone, verdict.spec.jobTemplate.queue) == ("@daily", "UTC", "default")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"schedule": "61 * * * *"}, "InvalidSchedule"),
        ({"timeZone": "Mars/Base"}, "UnknownTimeZone"),
        ({"timeZone": "local"}, "UnknownTimeZone"),
        ({"template": {"type": "nope"}}, "UnknownType"),
        ({"template": {"type": 5}}, "UnknownType"),
        ({"template": {"type": "email", "payload": []}}, "InvalidPayload"),
        ({"template": {"type": "email", "payload": {}}}, "InvalidPayload"),
        ({"template": {**EMAIL, "queue": "A"}}, "InvalidSpec"),
        ({"concurrencyPolicy": "Maybe"}, "InvalidSpec"),
        ({"newField": 1}, "InvalidSpec"),
    ],
)
def test_the_reason_names_what_is_wrong(spec: dict[str, Any], reason: str) -> None:
    assert refused(**spec).reason == reason


def test_the_message_names_the_field_as_the_user_wrote_it() -> None:
    assert refused({"type": "email", "payload": {**EMAIL["payload"], "bdy": 1}}).message == (  # type: ignore[dict-item]
        "jobTemplate.payload.bdy: unknown field; did you mean 'body'?"
    )


def test_every_wrong_field_is_named() -> None:
    message = refused(schedule="61 * * * *", timeZone="Mars/Base").message
    assert "schedule: " in message
    assert "timeZone: " in message


def test_a_payload_has_a_size() -> None:
    fits = {"type": "email", "payload": {"to": "a@example.com", "subject": "s", "body": "x" * (MAX_PAYLOAD - 100)}}
    assert isinstance(ACCEPTOR.accept({"schedule": "@daily", "jobTemplate": fits}), Accepted)
    verdict = refused({"type": "email", "payload": {"body": "x" * MAX_PAYLOAD}})
    assert verdict.reason == "InvalidPayload"
    assert "262144 are allowed" in verdict.message


def test_a_payload_has_a_depth() -> None:
    payload: Any = 1
    for _ in range(MAX_DEPTH + 1):
        payload = [payload]
    assert refused({"type": "email", "payload": {"x": payload}}).message == "jobTemplate.payload: is nested more than 100 levels deep"


def test_a_message_is_short_enough_to_be_read() -> None:
    payload = {f"field-{number}": number for number in range(1000)}
    assert len(refused({"type": "email", "payload": payload}).message) <= 2001
