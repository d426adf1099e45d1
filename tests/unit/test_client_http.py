"""The HTTP clients against a stub of the API: what they send, and what they make of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from dtq.client import AsyncClient, Client, Job
from dtq.client.calls import error_of
from dtq.errors import (
    AccessDenied,
    Conflict,
    DtqError,
    IdempotencyConflict,
    IllegalTransition,
    InvalidRequest,
    InvalidSchedule,
    NotFound,
    QueueDamaged,
    QueueFull,
    Unavailable,
)

Answer = Callable[[httpx.Request], httpx.Response]
DONE = {"id": "j1", "type": "noop", "queue": "default", "state": "succeeded", "result": {"x": 1}}


def client(answer: Answer, **options: Any) -> Client:
    return Client("http://dtq", transport=httpx.MockTransport(answer), **options)


def problem(status: int, kind: str, **extra: Any) -> httpx.Response:
    return httpx.Response(status, json={"type": f"urn:dtq:problem:{kind}", "status": status, "detail": "why", **extra})


def test_submit_sends_only_what_is_set() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/submit")
        assert request.headers["content-type"] == "application/json"
        assert msgspec.json.decode(request.content) == {"type": "noop", "payload": {"n": 1}, "priority": "high"}
        return httpx.Response(202, json={"id": "j1", "state": "queued", "queue": "default", "more": 1})

    with client(answer) as dtq:
        receipt = dtq.submit(Job("noop", {"n": 1}, priority="high"))
    assert (receipt.id, receipt.state) == ("j1", "queued")


def test_submit_writes_times_with_their_zone() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert msgspec.json.decode(request.content)["run_at"] == "2030-01-02T03:04:05Z"
        return httpx.Response(202, json={"id": "j1", "state": "scheduled", "run_at": "2030-01-02T03:04:05Z"})

    with client(answer) as dtq:
        assert dtq.submit(Job("noop", {}, run_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))).state == "scheduled"


def test_submit_many_goes_by_thousands() -> None:
    sizes = []

    def answer(request: httpx.Request) -> httpx.Response:
        jobs = msgspec.json.decode(request.content)["jobs"]
        sizes.append(len(jobs))
        return httpx.Response(202, json={"jobs": [{"id": f"j{job['payload']}", "state": "queued"} for job in jobs]})

    with client(answer) as dtq:
        receipts = dtq.submit_many(Job("noop", n) for n in range(2500))
    assert sizes == [1000, 1000, 500]
    assert [receipt.id for receipt in receipts] == [f"j{n}" for n in range(2500)]


def test_api_key_is_a_bearer_token() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer s3cret"
        return httpx.Response(200, json=DONE)

    with client(answer, api_key="s3cret") as dtq:
        assert dtq.get("j1").result == {"x": 1}


def test_wait_asks_again_until_the_job_ends() -> None:
    states = iter(["queued", "running", "succeeded"])

    def answer(request: httpx.Request) -> httpx.Response:
        assert 0 < float(request.url.params["wait"]) <= 20
        return httpx.Response(200, json={**DONE, "state": next(states)})

    with client(answer) as dtq:
        assert dtq.wait("j1", 60).finished


def test_wait_gives_up_in_time() -> None:
    with client(lambda _: httpx.Response(200, json={**DONE, "state": "running"})) as dtq:
        assert dtq.wait("j1", 0).state == "running"


@pytest.mark.parametrize(("method", "verb", "path"), [("cancel", "DELETE", "/jobs/j1"), ("retry", "POST", "/jobs/j1/retry")])
def test_cancel_and_retry(method: str, verb: str, path: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == (verb, path)
        return httpx.Response(202, json={})

    with client(answer) as dtq:
        getattr(dtq, method)("j1")


def test_queue_numbers() -> None:
    numbers = {"name": "q", "ready": 1, "delayed": 2, "running": 3, "dead": 4, "demand": 4, "oldest_age_seconds": 0.5, "paused": True}
    with client(lambda _: httpx.Response(200, json=numbers)) as dtq:
        info = dtq.queue("q")
    assert (info.ready, info.demand, info.paused) == (1, 4, True)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "malformed-json", InvalidRequest),
        (401, "unauthorized", AccessDenied),
        (403, "forbidden", AccessDenied),
        (404, "not-found", NotFound),
        (409, "illegal-transition", IllegalTransition),
        (409, "idempotency-conflict", IdempotencyConflict),
        (409, "conflict", Conflict),
        (422, "invalid-request", InvalidRequest),
        (422, "invalid-schedule", InvalidSchedule),
        (429, "queue-full", QueueFull),
        (429, "too-many-waits", Unavailable),
        (500, "internal", Unavailable),
        (500, "queue-damaged", QueueDamaged),
        (503, "unavailable", Unavailable),
    ],
)
def test_problems_become_typed_errors(status: int, kind: str, expected: type[DtqError]) -> None:
    with client(lambda _: problem(status, kind)) as dtq, pytest.raises(expected) as caught:
        dtq.submit(Job("noop", {}))
    assert type(caught.value) is expected


def test_invalid_request_names_the_fields() -> None:
    answer = problem(422, "invalid-request", errors=[{"field": "payload.to", "message": "required"}])
    error = error_of(422, answer.content)
    assert isinstance(error, InvalidRequest)
    assert error.errors == [("payload.to", "required")]


def test_a_damaged_queue_is_named() -> None:
    error = error_of(500, problem(500, "queue-damaged", queue="mail", reason="WRONGTYPE").content)
    assert str(error) == str(QueueDamaged("mail", "WRONGTYPE"))


def test_illegal_transition_tells_the_state() -> None:
    error = error_of(409, problem(409, "illegal-transition", state="running").content)
    assert isinstance(error, IllegalTransition)
    assert error.state == "running"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b"\xff", b'{"errors":{"a":1}}', b'{"errors":[1]}'])
@pytest.mark.parametrize("status", [400, 404, 409, 429, 502])
def test_errors_that_are_no_problem_documents(status: int, content: bytes) -> None:
    assert isinstance(error_of(status, content), DtqError)


@pytest.mark.parametrize("content", [b"", b"<html>", b"{}", b"\xff"])
def test_foreign_answers_are_refused(content: bytes) -> None:
    with client(lambda _: httpx.Response(200, content=content)) as dtq, pytest.raises(DtqError):
        dtq.get("j1")


def test_silent_server_is_unavailable() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with client(answer) as dtq, pytest.raises(Unavailable):
        dtq.get("j1")


def test_payload_that_is_not_json_is_refused() -> None:
    with client(lambda _: httpx.Response(500)) as dtq, pytest.raises(InvalidRequest):
        dtq.submit(Job("noop", object()))


async def test_async_client_has_the_same_methods() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/submit/batch":
            return httpx.Response(202, json={"jobs": [{"id": "j1", "state": "queued"}]})
        if request.url.path.startswith("/queues/"):
            return httpx.Response(200, json={"name": "q", "ready": 0, "delayed": 0, "running": 0, "dead": 0, "demand": 0})
        return httpx.Response(200, json=DONE)

    async with AsyncClient("http://dtq", transport=httpx.MockTransport(answer)) as dtq:
        assert (await dtq.submit(Job("noop", {}))).id == "j1"
        assert [receipt.id for receipt in await dtq.submit_many([Job("noop", {})])] == ["j1"]
        assert (await dtq.get("j1")).finished
        assert (await asyncio.wait_for(dtq.wait("j1", 5), 5)).finished
        await dtq.cancel("j1")
        await dtq.retry("j1")
        assert (await dtq.queue("q")).ready == 0
    assert {name for name in dir(Client) if not name.startswith("_")} == {name for name in dir(AsyncClient) if not name.startswith("_")}
