"""API keys and the refusal to serve strangers by accident."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from submitter_api import EMAIL, NOWHERE, running

from dtq.apikeys import ApiKey, Role, new_key
from dtq.config import load_settings
from dtq.errors import ConfigError
from dtq_submitter.keyfile import KeyFile
from dtq_submitter.main import check_exposure


def write(path: Path, *roles: Role) -> list[str]:
    """A key file with one key a role; returns the keys."""
    pairs = [new_key() for _ in roles]
    path.write_text("".join(f"{ApiKey(f'{role}-key', role, digest)}\n" for role, (_, digest) in zip(roles, pairs, strict=True)))
    return [key for key, _ in pairs]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/submit", "submit"),
        ("POST", "/submit/batch", "submit"),
        ("GET", "/jobs?state=queued", "read"),
        ("GET", "/queues/default", "read"),
        ("DELETE", "/jobs/0193f0c2a1b00000n-default", "admin"),
        ("POST", "/queues/default/pause", "admin"),
        ("PUT", "/schedules/a", "admin"),
    ],
)
async def test_each_endpoint_needs_its_role(redis_url: str, tmp_path: Path, method: str, path: str, needed: str) -> None:
    roles: tuple[Role, ...] = ("read", "submit", "admin")
    keys = write(tmp_path / "keys", *roles)
    async with running(redis_url, NOWHERE, tmp_path, apikeysfile=str(tmp_path / "keys")) as api:
        for role, key in zip(roles, keys, strict=True):
            answer = await api.http.request(method, path, headers={"Authorization": f"Bearer {key}"}, json=EMAIL)
            allowed = roles.index(role) >= roles.index(needed)
            assert (answer.status_code != 403) is allowed
            assert answer.status_code != 401
            if not allowed:
                assert f"needs the role {needed}" in answer.text


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": "Basic eDp5"}])
async def test_without_a_known_key_it_is_401(redis_url: str, tmp_path: Path, headers: dict[str, str]) -> None:
    write(tmp_path / "keys", "admin")
    async with running(redis_url, NOWHERE, tmp_path, apikeysfile=str(tmp_path / "keys")) as api:
        answer = await api.post(EMAIL, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await api.http.get("/nope", headers=headers)).status_code == 401
        assert await api.waiting() == 0


async def test_probes_metrics_and_docs_are_open(redis_url: str, tmp_path: Path) -> None:
    write(tmp_path / "keys", "admin")
    async with running(redis_url, NOWHERE, tmp_path, apikeysfile=str(tmp_path / "keys")) as api:
        for path in ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert (await api.http.get(path)).status_code == 200


async def test_the_header_x_api_key_serves_too(redis_url: str, tmp_path: Path) -> None:
    key = write(tmp_path / "keys", "submit")[0]
    async with running(redis_url, NOWHERE, tmp_path, apikeysfile=str(tmp_path / "keys")) as api:
        assert (await api.post(EMAIL, headers={"X-API-Key": key})).status_code == 202


def test_keys_change_without_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    old = write(tmp_path / "keys", "read")[0]
    keys = KeyFile(tmp_path / "keys", clock)
    new = write(tmp_path / "keys", "read", "admin")[1]
    clock.now += 2
    assert keys.find(old) is None
    assert keys.find(new) is not None


def test_a_change_that_cannot_be_used_leaves_the_keys_and_a_later_one_counts(tmp_path: Path) -> None:
    clock = Clock()
    old = write(tmp_path / "keys", "read")[0]
    keys = KeyFile(tmp_path / "keys", clock)
    (tmp_path / "keys").write_text("nonsense")
    clock.now += 2
    assert keys.find(old) is not None
    (tmp_path / "keys").write_bytes(b"\xff")
    clock.now += 2
    assert keys.find(old) is not None
    new = write(tmp_path / "keys", "admin")[0]
    clock.now += 2
    assert keys.find(new) is not None


@pytest.mark.parametrize("text", [None, "", "# nobody any more\n"], ids=["deleted", "empty", "comment"])
def test_withdrawing_the_last_key_withdraws_it(tmp_path: Path, text: str | None) -> None:
    path, clock = tmp_path / "keys", Clock()
    old = write(path, "admin")[0]
    keys = KeyFile(path, clock)
    path.unlink() if text is None else path.write_text(text)
    clock.now += 2
    assert keys.find(old) is None
    new = write(path, "admin")[0]
    clock.now += 2
    assert (keys.find(old), keys.find(new) is not None) == (None, True)


@pytest.mark.parametrize("text", [None, "", "nonsense\n"])
def test_a_broken_file_at_start_is_a_wrong_setting(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigError, match="APIKEYSFILE"):
        KeyFile(tmp_path / "keys")


@pytest.mark.parametrize("addr", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_loopback_needs_no_keys(addr: str) -> None:
    check_exposure(load_settings(apiaddr=addr))


@pytest.mark.parametrize("addr", [":8080", "0.0.0.0:8080", "[::]:8080", "10.0.0.1:80", "dtq.example:80"])
def test_other_addresses_need_keys_or_a_clear_word(addr: str) -> None:
    with pytest.raises(ConfigError, match="APIKEYSFILE"):
        check_exposure(load_settings(apiaddr=addr))
    check_exposure(load_settings(apiaddr=addr, allowanonymous=True))
    check_exposure(load_settings(apiaddr=addr, apikeysfile="keys"))


def start(**settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dtq_submitter"]
    return subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60, check=False)


def test_the_program_refuses_with_one_line_and_code_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cases = [
            {"APIADDR": "0.0.0.0:0"},
            {"APIADDR": f"127.0.0.1:{taken.getsockname()[1]}"},
            {"APIADDR": "127.0.0.1:0", "APIKEYSFILE": str(tmp_path / "none")},
        ]
        for case in cases:
            done = start(**case)
            assert done.returncode == 2, done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr
