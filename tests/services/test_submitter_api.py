"""The API as users meet it, on a real Valkey and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from submitter_api import EMAIL, NOWHERE, Running, running

from dtq.job import JobError, NewJob, State, TerminalJob
from dtq.queue.claims import Claims, Finish
from dtq.storage import Store
from dtq_submitter.views import rfc3339_ms


@pytest.fixture
async def api(redis_url: str, pg_dsn: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(redis_url, pg_dsn, tmp_path) as found:
        yield found


@pytest.fixture
async def alone(redis_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    """An app whose PostgreSQL is away."""
    async with running(redis_url, NOWHERE, tmp_path) as found:
        yield found


async def finish(api: Running, state: State = State.SUCCEEDED, output: str | None = None) -> TerminalJob:
    """Work one job off as a worker would."""
    claims = Claims(api.queue.client, "w1", 60_000, 300_000, 300_000)
    job = (await claims.claim("default", 1)).jobs[0]
    row = TerminalJob(
        id=job.id,
        queue=job.queue,
        type=job.type,
        state=state,
        submitted=job.submitted,
        finished=job.submitted + 5,
        payload=msgspec.Raw(job.payload),
        result=msgspec.Raw(b'{"ok":1}') if state is State.SUCCEEDED else None,
        error=None if state is State.SUCCEEDED else JobError("error", "boom"),
        output=output,
    )
    await claims.finish("default", [Finish(job, "k" if state is State.SUCCEEDED else "f", msgspec.json.encode(row))])
    return row


async def waited_for(api: Running) -> None:
    """Return when a long poll waits."""
    async with asyncio.timeout(30):
        while not len(api.app.waits):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


async def test_the_classic_body_is_accepted(alone: Running) -> None:
    answer = await alone.post(EMAIL)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert {**job, "id": ""} == {"id": "", "state": "queued", "queue": "default", "type": "email", "priority": "normal"}


async def test_a_job_shows_what_was_submitted_and_its_types_defaults(alone: Running) -> None:
    job = (await alone.post({**EMAIL, "queue": "mail", "priority": "high", "max_retries": 2})).json()
    shown = (await alone.http.get(f"/jobs/{job['id']}")).json()
    assert shown["payload"] == EMAIL["payload"]
    assert (shown["queue"], shown["priority"], shown["max_retries"], shown["timeout"]) == ("mail", "high", 2, 30)


async def test_the_payload_is_kept_as_it_was_sent(alone: Running) -> None:
    body = b'{"type":"email","payload":{"from":"s@example.com", "to":"a@example.com","body":"a: b\\n"}}'
    job = (await alone.http.post("/submit", content=body)).json()
    view = await alone.queue.get(job["id"])
    assert view is not None
    assert view.payload == b'{"from":"s@example.com","to":"a@example.com","body":"a: b\\n"}'


async def test_the_last_of_duplicate_keys_counts_in_check_and_in_store(alone: Running) -> None:
    body = b'{"type":"email","payload":{"to":"nonsense"},"payload":{"to":"a@example.com","body":"x"}}'
    job = (await alone.http.post("/submit", content=body)).json()
    view = await alone.queue.get(job["id"])
    assert view is not None
    assert view.payload == b'{"to":"a@example.com","body":"x"}'


async def test_delay_and_run_at_schedule(alone: Running) -> None:
    for when in ({"delay": 60}, {"run_at": "2030-01-01T00:00:00+01:00"}):
        job = (await alone.post({**EMAIL, **when})).json()
        assert job["state"] == "scheduled"
    assert job["run_at"] == "2029-12-31T23:00:00.000Z"


async def test_a_repeat_with_the_same_key_is_the_same_job(alone: Running) -> None:
    first = await alone.post({**EMAIL, "delay": 60, "idempotency_key": "k"})
    again = await alone.post({"payload": EMAIL["payload"], "type": "email", "delay": 60.0}, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]


async def test_a_batch_answers_in_order(alone: Running) -> None:
    jobs = [{**EMAIL, "priority": priority} for priority in ("high", "low", "normal")]
    answer = await alone.http.post("/submit/batch", json={"jobs": jobs})
    assert answer.status_code == 202
    assert [job["priority"] for job in answer.json()["jobs"]] == ["high", "low", "normal"]


async def test_jobs_submitted_at_once_all_get_ids_of_their_own(alone: Running) -> None:
    answers = await asyncio.gather(*(alone.post(EMAIL) for _ in range(300)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 300
    assert await alone.waiting() == 300


async def test_a_full_queue_is_429_and_takes_exactly_its_limit(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, NOWHERE, tmp_path, maxqueuelength=10) as api:
        answers = await asyncio.gather(*(api.post(EMAIL) for _ in range(25)), api.post({**EMAIL, "queue": "other"}))
        assert answers[-1].status_code == 202
        assert [answer.status_code for answer in answers].count(202) == 11
        full = next(answer for answer in answers if answer.status_code == 429)
        assert int(full.headers["retry-after"]) > 0


async def test_redis_away_is_503_quickly_and_never_202(tmp_path: Path) -> None:
    """The quickest of a few shows how long it takes, whatever else this machine was busy with in between."""
    took = []
    async with running("redis://127.0.0.1:1", NOWHERE, tmp_path) as api:
        for _ in range(4):
            began = time.monotonic()
            answer = await api.post(EMAIL)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "127.0.0.1" not in answer.text
            assert (await api.http.get("/readyz")).status_code == 503
            took.append(time.monotonic() - began)
    assert min(took) < 3, took


async def test_postgres_away_does_not_take_submit_out_of_service(alone: Running) -> None:
    ready = await alone.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "degraded", "checks": {"redis": "ok", "postgresql": "away"}})
    assert (await alone.post(EMAIL)).status_code == 202


async def test_an_unknown_job_is_404_and_503_while_nobody_can_know(api: Running, alone: Running) -> None:
    path = "/jobs/0193f0c2a1b00000n-default"
    assert (await api.http.get(path)).status_code == 404
    assert (await alone.http.get(path)).status_code == 503


async def test_a_long_poll_ends_with_the_job(api: Running) -> None:
    job = (await api.post(EMAIL)).json()["id"]
    poll = asyncio.create_task(api.http.get(f"/jobs/{job}?wait=60"))
    await waited_for(api)
    await finish(api)
    shown = (await asyncio.wait_for(poll, 30)).json()
    assert (shown["state"], shown["result"]) == ("succeeded", {"ok": 1})


async def test_a_long_poll_is_let_go_at_shutdown(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    poll = asyncio.create_task(alone.http.get(f"/jobs/{job}?wait=60"))
    await waited_for(alone)
    alone.app.waits.release()
    assert (await asyncio.wait_for(poll, 30)).json()["state"] == "queued"


async def test_a_waiting_job_is_cancelled_at_once_and_again(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    for _ in range(2):
        answer = await alone.http.delete(f"/jobs/{job}")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


async def test_the_worker_of_a_running_job_is_asked(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    await Claims(alone.queue.client, "w1", 60_000, 1000, 1000).claim("default", 1)
    answer = await alone.http.delete(f"/jobs/{job}")
    assert (answer.status_code, answer.json()["cancel_requested"]) == (202, True)


async def test_a_finished_job_is_neither_cancelled_nor_retried(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    await finish(alone)
    for method, path in (("DELETE", f"/jobs/{job}"), ("POST", f"/jobs/{job}/retry")):
        answer = await alone.http.request(method, path)
        assert (answer.status_code, answer.json()["state"]) == (409, "succeeded")


async def test_a_failed_job_is_retried(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    await finish(alone, State.FAILED)
    answer = await alone.http.post(f"/jobs/{job}/retry")
    assert (answer.status_code, answer.json()) == (202, {"id": job, "state": "queued"})
    assert (await alone.http.post(f"/jobs/{job}/retry")).status_code == 409


async def test_a_job_that_only_postgres_knows_is_shown_and_retried(api: Running, store: Store) -> None:
    job = (await api.post(EMAIL)).json()["id"]
    await store.insert([await finish(api, State.FAILED)])
    await api.queue.client.flushall()
    assert (await api.http.get(f"/jobs/{job}")).json()["error"]["message"] == "boom"
    assert (await api.http.delete(f"/jobs/{job}")).status_code == 409
    assert (await api.http.post(f"/jobs/{job}/retry")).status_code == 202
    assert (await api.http.get(f"/jobs/{job}")).json()["state"] == "queued"


async def pages(api: Running, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await api.http.get(f"/jobs?{query}{cursor}")).json()
        found += page["jobs"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_a_list_has_live_jobs_and_then_finished_ones_each_once(api: Running, store: Store, limit: int) -> None:
    for _ in range(6):
        await api.post(EMAIL)
    await store.insert([await finish(api) for _ in range(3)])
    found = await pages(api, f"limit={limit}")
    assert [job["state"] for job in found] == ["queued"] * 3 + ["succeeded"] * 3
    assert len({job["id"] for job in found}) == 6
    for part in (found[:3], found[3:]):
        assert [job["id"] for job in part] == sorted((job["id"] for job in part), reverse=True)


async def test_a_retried_job_is_listed_as_live_only(api: Running, store: Store) -> None:
    job = (await api.post(EMAIL)).json()["id"]
    await store.insert([await finish(api, State.FAILED)])
    assert [found["state"] for found in await pages(api, "state=failed")] == ["failed"]
    await api.http.post(f"/jobs/{job}/retry")
    assert [found["state"] for found in await pages(api, "limit=10")] == ["queued"]
    assert await pages(api, "state=failed") == []


async def test_filters_by_state_type_queue_and_time(api: Running) -> None:
    await api.post(EMAIL)
    await api.post({**EMAIL, "queue": "mail", "delay": 60})
    assert [job["queue"] for job in await pages(api, "state=scheduled,retrying")] == ["mail"]
    assert [job["queue"] for job in await pages(api, "state=queued&state=scheduled&queue=mail")] == ["mail"]
    assert len(await pages(api, "type=email&since=2020-01-01T00:00:00+01:00")) == 2
    assert await pages(api, "until=2020-01-01T00:00:00Z") == []


async def test_output_is_streamed_once_there_is_one(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    assert (await alone.http.get(f"/jobs/{job}/output")).status_code == 409
    alone.blobs.put("jobs/a b.png", b"\x89PNG")
    await finish(alone, output="jobs/a b.png")
    answer = await alone.http.get(f"/jobs/{job}/output")
    assert (answer.content, answer.headers["content-type"]) == (b"\x89PNG", "image/png")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.png"


async def test_a_job_without_output_is_404(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    await finish(alone)
    assert (await alone.http.get(f"/jobs/{job}/output")).status_code == 404


async def test_a_queue_never_used_has_zeros(alone: Running) -> None:
    answer = await alone.http.get("/queues/never")
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("ready", "delayed", "running", "dead", "demand")} == dict.fromkeys(
        ("ready", "delayed", "running", "dead", "demand"), 0
    )


async def test_a_queue_is_paused_and_resumed(alone: Running) -> None:
    await alone.post(EMAIL)
    assert (await alone.http.post("/queues/default/pause")).json()["paused"] is True
    assert (await alone.http.post("/queues/default/resume")).json()["paused"] is False
    assert [(queue["name"], queue["demand"]) for queue in (await alone.http.get("/queues")).json()["queues"]] == [("default", 1)]


async def test_a_schedule_lives(alone: Running) -> None:
    spec = {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "jobTemplate": EMAIL}
    assert [(await alone.http.put("/schedules/nightly", json=spec)).status_code for _ in range(2)] == [201, 200]
    shown = (await alone.http.get("/schedules/nightly")).json()
    assert (shown["spec"]["timeZone"], shown["status"]["lastScheduleTime"]) == ("Europe/Berlin", None)
    fired = await alone.http.post("/schedules/nightly/trigger")
    assert (await alone.http.get(fired.headers["location"])).json()["schedule"] == "nightly"
    assert (await alone.http.delete("/schedules/nightly")).status_code == 204
    assert (await alone.http.delete("/schedules/nightly")).status_code == 404


async def test_preview_tells_the_ticks_and_none_when_there_are_none(alone: Running) -> None:
    query = {"schedule": "30 2 * * *", "timeZone": "Europe/Berlin", "from": "2026-03-28T12:00:00Z", "count": "2"}
    assert (await alone.http.get("/schedules/preview", params=query)).json() == {"ticks": ["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]}
    assert (await alone.http.get("/schedules/preview", params={"schedule": "0 0 30 2 *"})).json() == {"ticks": []}


async def test_metrics_count_jobs_and_name_no_ids(alone: Running) -> None:
    job = (await alone.post(EMAIL)).json()["id"]
    await alone.http.get(f"/jobs/{job}")
    text = (await alone.http.get("/metrics")).text
    assert 'dtq_jobs_submitted_total{queue="default",type="email"} 1.0' in text
    assert "dtq_build_info{" in text
    assert "dtq_postgres_pool_limit 4.0" in text
    assert job not in text


async def test_an_error_nobody_foresaw_tells_nothing_of_the_insides(alone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(alone.queue, "submit", broken)
    monkeypatch.setattr(alone.queue, "queues", broken)
    for answer in (await alone.post(EMAIL), await alone.http.get("/queues")):
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "secret" not in answer.text


async def test_types_have_schemas(alone: Running) -> None:
    types = (await alone.http.get("/types")).json()["types"]
    assert [found["name"] for found in types] == ["data_processing", "email", "image_resize"]
    assert all(found["schema"]["properties"] for found in types)


async def test_the_openapi_document_is_valid_and_has_every_type(alone: Running) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    document = (await alone.http.get("/openapi.json")).json()
    validator.validate(document)
    union = document["components"]["schemas"]["SubmitRequest"]
    assert set(union["discriminator"]["mapping"]) == {"data_processing", "email", "image_resize"}
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]


async def test_an_instant_beyond_the_calendar_is_its_last(alone: Running) -> None:
    far = (await alone.queue.submit([NewJob("email", b"{}", delay_ms=2**50)]))[0].id
    assert (await alone.http.get(f"/jobs/{far}")).json()["run_at"] == "9999-12-31T23:59:59.999Z"
    assert (rfc3339_ms(-(2**63)), rfc3339_ms(2**63)) == ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z")


@pytest.mark.parametrize("ended", [0, 3, 5])
async def test_a_page_is_bounded_in_bytes_and_the_list_complete(api: Running, store: Store, ended: int) -> None:
    payload = b'"' + b"x" * 3_000_000 + b'"'
    jobs = {done.id for _ in range(5) for done in await api.queue.submit([NewJob("email", payload)])}
    await store.insert([await finish(api) for _ in range(ended)])
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        answer = await api.http.get("/jobs", params={"limit": 1000} | ({"cursor": cursor} if cursor else {}))
        assert len(answer.content) < 9_000_000
        seen += [job["id"] for job in answer.json()["jobs"]]
        cursor = answer.json()["next_cursor"]
    assert sorted(seen) == sorted(jobs)


async def test_a_job_larger_than_a_page_is_a_page(alone: Running) -> None:
    await alone.queue.submit([NewJob("email", b'"' + b"x" * 9_000_000 + b'"')] * 2)
    answer = await alone.http.get("/jobs?state=queued")
    assert (len(answer.json()["jobs"]), answer.json()["next_cursor"] is None) == (1, False)
