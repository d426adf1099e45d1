"""What callers may get wrong: each is refused with a problem document that names it, and nothing is enqueued."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from submitter_api import EMAIL, NOWHERE, Running, fields, running

from dtq.queue.live import _encode, _Place
from dtq_submitter.listing import _Cursor, encode_cursor


@pytest.fixture
async def api(redis_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(redis_url, NOWHERE, tmp_path) as found:
        yield found


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b'{"type":"email"',
        b'{"type":"email","payload":{"to":"\xff@example.com","body":"x"}}',
        b"[" * 100_000,
        b'{"type":"email","payload":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b'{"type":"data_processing","payload":{"sql":"SELECT 1","inputs":{"t":{"rows":[{"x":NaN}]}}}}',
    ],
    ids=["empty", "text", "cut", "utf8", "deep-list", "deep-payload", "nan-in-payload"],
)
async def test_what_is_not_json_is_400(api: Running, body: bytes) -> None:
    answer = await api.http.post("/submit", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:dtq:problem:malformed-json"
    assert await api.waiting() == 0


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"email"'])
async def test_json_that_is_no_object_is_422(api: Running, body: bytes) -> None:
    answer = await api.http.post("/submit", content=body, headers=JSON)
    assert answer.status_code == 422
    assert "object" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"delay": -1}, "delay"),
        ({"delay": "5"}, "delay"),
        ({"delay": 1e12}, "delay"),
        ({"run_at": "9999-12-31T23:59:59Z"}, "run_at"),
        ({"run_at": "9999-12-31T23:59:59-12:00"}, "run_at"),
        ({"run_at": "2026-02-30T00:00:00Z"}, "run_at"),
        ({"run_at": "2026-03-01T09:00:00"}, "run_at"),
        ({"run_at": "1700000000"}, "run_at"),
        ({"delay": 1, "run_at": "2026-12-24T18:00:00Z"}, "run_at"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 1e9}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"max_retries": 101}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"queue": "a b"}, "queue"),
        ({"queue": "a\n"}, "queue"),
        ({"queue": "x" * 64}, "queue"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "a\nb"}, "idempotency_key"),
        ({"idempotency_key": "x" * 256}, "idempotency_key"),
    ],
)
async def test_a_wrong_field_is_named(api: Running, change: dict[str, Any], field: str) -> None:
    answer = await api.post({**EMAIL, **change})
    assert answer.status_code == 422
    assert fields(answer) == [field]
    assert await api.waiting() == 0


async def test_nan_as_timeout_is_refused(api: Running) -> None:
    body = b'{"type":"email","payload":{"to":"a@example.com","body":"x"},"timeout":NaN}'
    answer = await api.http.post("/submit", content=body, headers=JSON)
    assert (answer.status_code, fields(answer)) == (422, ["timeout"])


async def test_run_at_in_the_past_runs_now(api: Running) -> None:
    answer = await api.post({**EMAIL, "run_at": "1960-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")


async def test_an_unknown_field_is_named_with_the_one_meant(api: Running) -> None:
    answer = await api.post({**EMAIL, "prioritty": "high"})
    assert fields(answer) == ["prioritty"]
    assert "did you mean 'priority'?" in answer.text


async def test_an_unknown_type_lists_the_known_ones(api: Running) -> None:
    answer = await api.post({"type": "emial", "payload": {}})
    assert (answer.status_code, fields(answer)) == (422, ["type"])
    assert "did you mean 'email'?" in answer.text
    assert "image_resize" in answer.text


async def test_every_wrong_field_of_a_payload_is_named_with_its_path(api: Running) -> None:
    payload = {"to": ["a@example.com", "nonsense"], "subject": 3, "body": "x", "attachments": [{"content_base64": "!"}]}
    answer = await api.post({"type": "email", "payload": payload})
    assert answer.status_code == 422
    assert {"payload.to[1]", "payload.subject", "payload.attachments[0].filename"} <= set(fields(answer))


@pytest.mark.parametrize("address", ["a@example.com\r\nBcc: b@example.com", "a@example.com\nX: y", "a\r@example.com"])
async def test_line_breaks_in_addresses_are_refused(api: Running, address: str) -> None:
    answer = await api.post({"type": "email", "payload": {"to": [address], "body": "x"}})
    assert answer.status_code == 422
    assert fields(answer)[0].startswith("payload.to")


async def test_a_body_of_11_mb_is_413(api: Running) -> None:
    body = {**EMAIL, "payload": {**EMAIL["payload"], "body": "x" * (11 * 1024 * 1024)}}
    answer = await api.post(body)
    assert answer.status_code == 413
    assert "MAXBODYBYTES" in answer.text


async def test_a_body_too_large_without_a_length_is_413(api: Running) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 1024 * 1024

    answer = await api.http.post("/submit", content=parts(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/xml"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "text/plain", "origin": "http://localhost:8080"},
    ],
)
async def test_other_media_are_415(api: Running, headers: dict[str, str]) -> None:
    assert (await api.http.post("/submit", content=b"{}", headers=headers)).status_code == 415


async def test_the_body_that_curl_sends_by_default_is_taken_for_json(api: Running) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = b'{"type":"email","payload":{"to":"a@example.com","body":"x"}}'
    assert (await api.http.post("/submit", content=body, headers=headers)).status_code == 202


async def test_a_key_reused_with_another_body_is_409(api: Running) -> None:
    await api.post({**EMAIL, "idempotency_key": "k"})
    answer = await api.post({**EMAIL, "priority": "high", "idempotency_key": "k"})
    assert answer.status_code == 409
    assert await api.waiting() == 1


async def test_header_and_field_must_agree(api: Running) -> None:
    answer = await api.post({**EMAIL, "idempotency_key": "a"}, headers={"Idempotency-Key": "b"})
    assert (answer.status_code, fields(answer)) == (422, ["idempotency_key"])


async def test_one_bad_job_refuses_the_batch_and_is_named_by_its_index(api: Running) -> None:
    bad = {**EMAIL, "payload": {"to": "nonsense", "body": "x"}}
    answer = await api.http.post("/submit/batch", json={"jobs": [EMAIL, EMAIL, EMAIL, bad]})
    assert (answer.status_code, fields(answer)) == (422, ["jobs[3].payload.to"])
    assert await api.waiting() == 0


async def test_a_job_of_a_batch_with_delay_and_run_at_is_named(api: Running) -> None:
    bad = {**EMAIL, "delay": 1, "run_at": "2026-12-24T18:00:00Z"}
    answer = await api.http.post("/submit/batch", json={"jobs": [EMAIL, bad]})
    assert fields(answer) == ["jobs[1].run_at"]
    assert await api.waiting() == 0


@pytest.mark.parametrize("jobs", [[], [EMAIL] * 1001], ids=["none", "1001"])
async def test_a_batch_has_1_to_1000_jobs(api: Running, jobs: list[Any]) -> None:
    answer = await api.http.post("/submit/batch", json={"jobs": jobs})
    assert (answer.status_code, fields(answer)) == (422, ["jobs"])


@pytest.mark.parametrize("path", ["/jobs/x", "/jobs/x/output", "/jobs/%00", "/queues/A%20B"])
async def test_malformed_names_are_422(api: Running, path: str) -> None:
    assert (await api.http.get(path)).status_code == 422


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=nonsense", "cursor"),
        ("cursor=W10", "cursor"),
        ("state=done", "state"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("queue=A%20B", "queue"),
        ("stat=failed", "stat"),
    ],
)
async def test_a_wrong_filter_is_named(api: Running, query: str, field: str) -> None:
    answer = await api.http.get(f"/jobs?{query}")
    assert (answer.status_code, fields(answer)) == (422, [field])


@pytest.mark.parametrize("position", ["18446744073709551616-0", "1-99999999999999999999", "0-0", "00-0", "-1-0"])
async def test_a_place_in_a_stream_that_redis_cannot_have_is_no_cursor(api: Running, position: str) -> None:
    await api.post(EMAIL)
    cursor = encode_cursor(_Cursor(1, live=_encode(_Place("default", "n", position))))
    answer = await api.http.get("/jobs", params={"state": "queued", "cursor": cursor})
    assert (answer.status_code, fields(answer)) == (422, ["cursor"])


async def test_the_ends_of_a_stream_are_places(api: Running) -> None:
    await api.post(EMAIL)
    for position in ("0-1", "9999999999999999999-9999999999999999999"):
        cursor = encode_cursor(_Cursor(1, live=_encode(_Place("default", "n", position))))
        assert (await api.http.get("/jobs", params={"state": "queued", "cursor": cursor})).status_code == 200


@pytest.mark.parametrize("query", [{"type": "a\0b"}, {"cursor": encode_cursor(_Cursor(1, submitted=1, id="a\0b"))}])
async def test_a_nul_is_422(redis_url: str, pg_dsn: str, tmp_path: Path, query: dict[str, str]) -> None:
    async with running(redis_url, pg_dsn, tmp_path) as api:
        answer = await api.http.get("/jobs", params=query)
        assert (answer.status_code, fields(answer)) == (422, list(query))


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "soon"])
async def test_a_wrong_wait_is_named(api: Running, wait: str) -> None:
    job = (await api.post(EMAIL)).json()["id"]
    answer = await api.http.get(f"/jobs/{job}?wait={wait}")
    assert (answer.status_code, fields(answer)) == (422, ["wait"])


@pytest.mark.parametrize(("method", "path"), [("GET", "/submit"), ("PUT", "/submit/batch"), ("POST", "/jobs"), ("PATCH", "/queues/a")])
async def test_a_wrong_method_is_405_and_told_the_right_one(api: Running, method: str, path: str) -> None:
    answer = await api.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_path_is_a_problem_too(api: Running) -> None:
    answer = await api.http.get("/nope")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


SCHEDULE = {"schedule": "*/5 * * * *", "jobTemplate": EMAIL}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule": "* * * *"}, "schedule"),
        ({"schedule": "* * * * 7"}, "schedule"),
        ({"schedule": "TZ=UTC * * * * *"}, "schedule"),
        ({"timeZone": "Mars/Olympus"}, "timeZone"),
        ({"concurrencyPolicy": "Maybe"}, "concurrencyPolicy"),
        ({"startingDeadlineSeconds": -1}, "startingDeadlineSeconds"),
        ({"jobTemplate": {"type": "nope"}}, "jobTemplate.type"),
        ({"jobTemplate": {"type": "email", "payload": {"to": ["x"], "body": "y"}}}, "jobTemplate.payload.to[0]"),
        ({"shedule": "x"}, "shedule"),
    ],
)
async def test_a_wrong_schedule_is_refused_by_field(api: Running, change: dict[str, Any], field: str) -> None:
    answer = await api.http.put("/schedules/a", json={**SCHEDULE, **change})
    assert (answer.status_code, fields(answer)) == (422, [field])
    assert (await api.http.get("/schedules/a")).status_code == 404


async def test_a_schedule_that_is_not_json_is_400(api: Running) -> None:
    assert (await api.http.put("/schedules/a", content=b"{", headers=JSON)).status_code == 400
