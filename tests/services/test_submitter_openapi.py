"""The OpenAPI document: valid, complete, and true of what each endpoint answers."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate
from pydantic import BaseModel
from submitter_api import EMAIL, NOWHERE, Running, running

from dtq.apikeys import ApiKey, new_key
from dtq.job import JobError, State, TerminalJob
from dtq.queue import keys
from dtq.queue.claims import Claims, Finish
from dtq.registry import JobType
from dtq.requests import Requests
from dtq_submitter.openapi.schemas import schemas
from dtq_submitter.problems import MEDIA_TYPE

SPEC = {"schedule": "0 3 * * *", "jobTemplate": EMAIL}
OPEN = {"livez", "readyz", "metrics"}
NEED_NO_SERVER = {"livez", "metrics", "list_types", "preview_schedule"}
NO_JOB = "/jobs/0193f0c2a1b00000n-default"
JSON = {"content-type": "application/json"}


class Checker:
    """Holds answers against the document, and notes which of the documented ones it has seen."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, int]] = set()
        # Published schemas let fields be added; here one that is not documented is an error.
        self._components = copy.deepcopy(document["components"])
        for schema in self._components["schemas"].values():
            if "properties" in schema:
                schema.setdefault("additionalProperties", False)

    def valid(self, schema: dict[str, Any], value: object) -> None:
        OAS31Validator({**schema, "components": self._components}, format_checker=oas31_format_checker).validate(value)

    def check(self, path: str, answer: httpx.Response) -> httpx.Response:
        """The answer to a request of a documented path, or to another method on it."""
        item = self.document["paths"][path]
        operation = item.get(answer.request.method.lower()) or next(iter(item.values()))
        documented = operation["responses"][str(answer.status_code)]
        self.seen.add((operation["operationId"], answer.status_code))
        assert all(name in answer.headers for name in documented.get("headers", {})), (path, answer.headers)
        if "content" not in documented:
            assert answer.content == b""
            return answer
        kind = answer.headers["content-type"].partition(";")[0]
        content = documented["content"].get(kind) or documented["content"]["*/*"]
        self.valid(content["schema"], answer.json() if kind.endswith("json") else answer.text)
        return answer


class Driver:
    """A client of one app whose every answer is checked."""

    def __init__(self, api: Running, checker: Checker) -> None:
        self.api = api
        self._checker = checker

    async def __call__(self, method: str, pattern: str, status: int, /, **options: Any) -> Any:
        """Ask; ``name`` fills the pattern. Returns the JSON of the answer."""
        name = options.pop("name", "")
        start, brace, rest = pattern.partition("{")
        path = start + name + rest.partition("}")[2] if brace else pattern
        answer = self._checker.check(pattern, await self.api.http.request(method, path, **options))
        assert answer.status_code == status, (method, path, answer.text)
        return answer.json() if "json" in answer.headers.get("content-type", "") else None

    async def end(self, state: State, output: str | None = None) -> TerminalJob:
        """Work a job off, with an attempt before the last."""
        claims = Claims(self.api.queue.client, "w1", 60_000, 300_000, 300_000)
        job = (await claims.claim("default", 1)).jobs[0]
        good = state is State.SUCCEEDED
        row = TerminalJob(
            id=job.id,
            queue=job.queue,
            type=job.type,
            state=state,
            submitted=job.submitted,
            finished=job.submitted + 5,
            payload=msgspec.Raw(job.payload),
            result=msgspec.Raw(b'{"ok":1}') if good else None,
            error=None if good else JobError("error", "boom", "ValueError", "Traceback"),
            output=output,
        )
        await claims.finish("default", [Finish(job, "k" if good else "f", msgspec.json.encode(row))])
        return row


@pytest.fixture
async def api(redis_url: str, pg_dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(redis_url, pg_dsn, tmp_path, maxqueuelength=20) as found:
        yield found


@pytest.fixture
async def away(tmp_path: Path) -> AsyncIterator[Running]:
    """An app whose servers are all away."""
    async with running("redis://127.0.0.1:1", NOWHERE, tmp_path) as found:
        yield found


@pytest.fixture
def document(api: Running) -> dict[str, Any]:
    return api.app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_every_operation_is_told_in_full(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for path, _, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (path, parameter)
            assert "example" in parameter or "examples" in parameter["schema"], (path, parameter)


def test_operation_ids_are_unique_and_stay(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert set(ids) == {
        *("submit", "submit_batch", "list_jobs", "get_job", "cancel_job", "retry_job", "get_job_output"),
        *("list_queues", "get_queue", "pause_queue", "resume_queue"),
        *("list_schedules", "preview_schedule", "get_schedule", "put_schedule", "delete_schedule", "trigger_schedule"),
        *("list_types", "livez", "readyz", "metrics"),
    }


def test_errors_that_any_operation_may_give_are_listed(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        needed = {"400", "403", "405", "408", "414", "431", "500", "503"} | (set() if operation["operationId"] in OPEN else {"401"})
        assert needed <= set(operation["responses"]), path
        assert ("401" in operation["responses"]) is (operation.get("security") != [])
        if operation.get("parameters"):
            assert "422" in operation["responses"], path


def test_errors_are_problem_documents(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and (operation["operationId"], status) != ("readyz", "503"):
                assert answer["content"][MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_every_answer_has_an_example_that_fits(document: dict[str, Any]) -> None:
    checker = Checker(document)
    for path, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            assert answer["description"]
            assert status == "204" or answer["content"], path
            for content in answer.get("content", {}).values():
                checker.valid(content["schema"], content["example"])


def test_examples_of_requests_fit(document: dict[str, Any]) -> None:
    checker = Checker(document)
    bodies = [
        operation["requestBody"]["content"]["application/json"] for _, _, operation in operations(document) if "requestBody" in operation
    ]
    assert len(bodies) == 3
    for body in bodies:
        for value in [body["example"]] if "example" in body else [example["value"] for example in body["examples"].values()]:
            checker.valid(body["schema"], value)


def test_both_ways_to_give_a_key_are_declared(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["apiKey"]["name"]) == ("bearer", "X-API-Key")
    assert document["security"] == [{}, {"bearer": []}, {"apiKey": []}]


def test_a_handlers_model_may_have_the_name_of_an_answer() -> None:
    inner = type("Job", (BaseModel,), {"__annotations__": {"mine": int}})
    payload = type("Payload", (BaseModel,), {"__annotations__": {"inner": inner}})
    found = schemas(Requests({"own": JobType("own", payload)}))
    assert "submitted_at" in found["Job"]["properties"]
    assert found["Payload"]["properties"]["inner"] == {"$ref": "#/components/schemas/PayloadJob"}
    assert list(found["PayloadJob"]["properties"]) == ["mine"]


async def drive_jobs(ask: Driver) -> None:
    job = (await ask("POST", "/submit", 202, json={**EMAIL, "idempotency_key": "k"}))["id"]
    await ask("POST", "/submit", 200, json={**EMAIL, "idempotency_key": "k"})
    await ask("GET", "/jobs/{job_id}", 200, name=job)
    await ask("GET", "/jobs/{job_id}/output", 409, name=job)
    ask.api.blobs.put("jobs/report.csv", b"a,b\n")
    await ask.api.store.insert([await ask.end(State.SUCCEEDED, "jobs/report.csv")])
    await ask("GET", "/jobs/{job_id}", 200, name=job)
    await ask("GET", "/jobs/{job_id}/output", 200, name=job)
    await ask("DELETE", "/jobs/{job_id}", 409, name=job)
    await ask("POST", "/jobs/{job_id}/retry", 409, name=job)
    failed = (await ask("POST", "/submit", 202, json=EMAIL))["id"]
    await ask.end(State.FAILED)
    await ask("GET", "/jobs/{job_id}", 200, name=failed)
    await ask("POST", "/jobs/{job_id}/retry", 202, name=failed)
    await Claims(ask.api.queue.client, "w1", 60_000, 1000, 1000).claim("default", 1)
    await ask("DELETE", "/jobs/{job_id}", 202, name=failed)
    await ask("GET", "/jobs/{job_id}", 200, name=failed)
    waiting = (await ask("POST", "/submit", 202, json={**EMAIL, "delay": 60}))["id"]
    await ask("GET", "/jobs/{job_id}", 200, name=waiting)
    await ask("GET", "/jobs", 200)
    await ask("DELETE", "/jobs/{job_id}", 200, name=waiting)
    batch = {"jobs": [{**EMAIL, "idempotency_key": "b"}, {**EMAIL, "idempotency_key": "c", "delay": 60}]}
    await ask("POST", "/submit/batch", 202, json=batch)
    await ask("POST", "/submit/batch", 200, json=batch)


async def drive_schedules(ask: Driver) -> None:
    await ask("PUT", "/schedules/{name}", 201, name="nightly", json=SPEC)
    await ask("PUT", "/schedules/{name}", 200, name="nightly", json=SPEC)
    await ask("POST", "/schedules/{name}/trigger", 202, name="nightly")
    await ask("GET", "/schedules/{name}", 200, name="nightly")
    await ask("GET", "/schedules", 200)
    await ask("GET", "/schedules/preview", 200, params={"schedule": "0 3 * * *"})
    await ask("DELETE", "/schedules/{name}", 204, name="nightly")
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/trigger")):
        await ask(method, f"/schedules/{{name}}{rest}", 404, name="nightly")


async def drive_the_rest(ask: Driver) -> None:
    await ask("GET", "/queues", 200)
    for method, rest in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
        await ask(method, f"/queues/{{queue}}{rest}", 200, name="default")
        await ask(method, f"/queues/{{queue}}{rest}", 422, name="A%20B")
    for path in ("/types", "/livez", "/readyz", "/metrics"):
        await ask("GET", path, 200)


async def test_every_good_answer_is_as_documented(api: Running, document: dict[str, Any]) -> None:
    checker = Checker(document)
    ask = Driver(api, checker)
    for drive in (drive_jobs, drive_schedules, drive_the_rest):
        await drive(ask)
    good = {(op["operationId"], int(status)) for _, _, op in operations(document) for status in op["responses"] if int(status) < 400}
    assert good <= checker.seen, good - checker.seen


async def test_refusals_are_as_documented(api: Running, document: dict[str, Any]) -> None:
    ask = Driver(api, Checker(document))
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("GET", "/output")):
        await ask(method, f"/jobs/{{job_id}}{rest}", 404, name=NO_JOB.rpartition("/")[2])
        await ask(method, f"/jobs/{{job_id}}{rest}", 422, name="x")
    for path, query in (("/jobs", "limit=0"), ("/schedules", "limit=0"), ("/schedules/preview", "schedule=x")):
        await ask("GET", path, 422, params=query)
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/trigger"), ("PUT", "")):
        await ask(method, f"/schedules/{{name}}{rest}", 422, name="A", json=SPEC if method == "PUT" else None)
    await ask("POST", "/submit", 202, json={**EMAIL, "idempotency_key": "k"})
    await ask("POST", "/submit", 409, json={**EMAIL, "idempotency_key": "k", "priority": "low"})


@pytest.mark.parametrize(("method", "pattern"), [("POST", "/submit"), ("POST", "/submit/batch"), ("PUT", "/schedules/{name}")])
async def test_refused_bodies_are_as_documented(api: Running, document: dict[str, Any], method: str, pattern: str) -> None:
    ask = Driver(api, Checker(document))
    await ask(method, pattern, 400, name="a", content=b"{", headers=JSON)
    await ask(method, pattern, 413, name="a", content=b" " * (api.settings.maxbodybytes + 1), headers=JSON)
    await ask(method, pattern, 415, name="a", content=b"{}", headers={"content-type": "application/xml"})
    await ask(method, pattern, 422, name="a", json={})


async def test_a_full_queue_is_as_documented(api: Running, document: dict[str, Any]) -> None:
    ask = Driver(api, Checker(document))
    await ask("POST", "/submit/batch", 202, json={"jobs": [EMAIL] * 20})
    await ask("POST", "/submit/batch", 429, json={"jobs": [EMAIL]})
    await ask("POST", "/submit", 429, json=EMAIL)


FILL = {"name": "a", "queue": "a", "job_id": NO_JOB.rpartition("/")[2]}


def filled(pattern: str) -> str:
    """A name for the parameter in the pattern."""
    return FILL.get(pattern.partition("{")[2].partition("}")[0], "")


def request_of(method: str, pattern: str) -> dict[str, Any]:
    """What makes a request of this operation well-formed."""
    if pattern == "/schedules/preview":
        return {"params": {"schedule": "0 3 * * *"}}
    if method == "PUT":
        return {"json": SPEC}
    return {"json": {"jobs": [EMAIL]} if pattern.endswith("batch") else EMAIL} if pattern.startswith("/submit") else {}


@pytest.mark.parametrize("path", ["/submit", "/queues/bad", "/jobs?queue=bad"])
async def test_a_damaged_queue_is_as_documented(api: Running, document: dict[str, Any], path: str) -> None:
    """It is named, with what to do; nothing else is refused, and nothing is a failure of the server's own."""
    await api.queue.client.set(keys.lane("bad", "n"), "oops")
    await api.queue.client.sadd(keys.QUEUES, "bad")
    checker = Checker(document)
    if path == "/submit":
        answers = await asyncio.gather(*(api.post({**EMAIL, "queue": name}) for name in ("default", "bad", "default")))
        assert [answer.status_code for answer in answers] == [202, 500, 202]
        answer = answers[1]
    else:
        answer = await api.http.get(path)
    checker.check(path.partition("?")[0].replace("/bad", "/{queue}"), answer)
    problem = answer.json()
    assert (answer.status_code, problem["type"], problem["queue"]) == (500, "urn:dtq:problem:queue-damaged", "bad")
    assert problem["detail"].startswith("a key of 'bad' in Redis is not as DTQ wrote it (WRONGTYPE")
    assert problem["detail"].endswith("repair or delete the key")
    for healthy in ("/jobs", "/queues", "/queues/default", "/metrics"):
        assert (await api.http.get(healthy)).status_code == 200


async def test_servers_that_are_away_are_as_documented(away: Running) -> None:
    document = away.app.openapi()
    ask = Driver(away, Checker(document))
    for pattern, method, operation in operations(document):
        status = 200 if operation["operationId"] in NEED_NO_SERVER else 503
        await ask(method, pattern, status, name=filled(pattern), **request_of(method, pattern))


async def test_a_process_to_be_restarted_is_as_documented(api: Running, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.queue, "problem", lambda: "it was away at the start")
    await Driver(api, Checker(document))("GET", "/livez", 503)


async def test_keys_pages_and_methods_are_as_documented(redis_url: str, tmp_path: Path) -> None:
    key, digest = new_key()
    (tmp_path / "keys").write_text(f"{ApiKey('reader', 'read', digest)}\n")
    async with running(redis_url, NOWHERE, tmp_path, apikeysfile=str(tmp_path / "keys")) as api:
        document = api.app.openapi()
        ask = Driver(api, Checker(document))
        for pattern, method, operation in operations(document):
            if operation.get("security") != []:
                await ask(method, pattern, 401, name=filled(pattern))
            if method != "GET":
                await ask(method, pattern, 403, name=filled(pattern), headers={"X-API-Key": key})
                await ask(method, pattern, 403, name=filled(pattern), headers={"sec-fetch-site": "cross-site"})


async def test_other_methods_are_as_documented(api: Running, document: dict[str, Any]) -> None:
    ask = Driver(api, Checker(document))
    for pattern in document["paths"]:
        await ask("PATCH", pattern, 405, name=filled(pattern))


async def test_a_failure_is_as_documented(api: Running, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    for name in ("submit", "queues"):
        monkeypatch.setattr(api.queue, name, broken)
    ask = Driver(api, Checker(document))
    await ask("POST", "/submit", 500, json=EMAIL)
    await ask("GET", "/queues", 500)
