"""A browser on this machine is no way in for foreign web pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from submitter_api import EMAIL, NOWHERE, Running, running

from dtq.config import load_settings
from dtq_submitter.origin import foreign_host, only_local


@pytest.fixture
async def api(redis_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(redis_url, NOWHERE, tmp_path) as found:
        yield found


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
]
OWN = [
    {},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/submit"),
        ("POST", "/queues/default/pause"),
        ("POST", "/queues/default/resume"),
        ("POST", "/jobs/0193f0c2a1b00000n-default/retry"),
        ("POST", "/schedules/a/trigger"),
        ("DELETE", "/jobs/0193f0c2a1b00000n-default"),
        ("PUT", "/schedules/a"),
    ],
)
async def test_foreign_pages_change_nothing(api: Running, method: str, path: str, headers: dict[str, str]) -> None:
    answer = await api.http.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:dtq:problem:forbidden")
    assert not (await api.queue.stats(["default"]))[0].paused


@pytest.mark.parametrize("headers", OWN)
async def test_the_own_pages_and_programs_may(api: Running, headers: dict[str, str]) -> None:
    assert (await api.http.post("/queues/default/pause", headers=headers)).status_code == 200
    assert (await api.post(EMAIL, headers=headers)).status_code == 202


async def test_reading_asks_for_no_origin(api: Running) -> None:
    assert (await api.http.get("/queues", headers=FOREIGN[0])).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "10.0.0.1:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[::1"]
)
async def test_a_rebound_name_is_refused_and_told_how_to_allow_it(api: Running, host: str) -> None:
    for method, path in (("GET", "/queues"), ("POST", "/submit")):
        answer = await api.http.request(method, path, headers={"Host": host})
        assert answer.status_code == 403
        assert "APIKEYSFILE" in answer.json()["detail"]
        assert "ALLOWANONYMOUS=true" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "dtq.localhost:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]", ""]
)
def test_names_of_this_machine_pass(host: str) -> None:
    assert foreign_host([(b"host", host.encode())]) is None


async def test_with_a_clear_word_any_host_passes(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, NOWHERE, tmp_path, allowanonymous=True) as api:
        assert (await api.http.get("/queues", headers={"Host": "dtq.example"})).status_code == 200


def test_host_matters_only_where_nothing_else_protects() -> None:
    assert only_local(load_settings(apiaddr="127.0.0.1:8080"))
    assert not only_local(load_settings(apiaddr="127.0.0.1:8080", apikeysfile="keys"))
    assert not only_local(load_settings(apiaddr="0.0.0.0:8080", allowanonymous=True))
