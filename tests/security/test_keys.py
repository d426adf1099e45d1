"""API keys on every operation of the document, so that none is forgotten: without one, with a wrong one, with too weak a one."""

from __future__ import annotations

import ast
import atexit
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from service_process import Service, services, until

from dtq import apikeys
from dtq.apikeys import ROLES, ApiKey, new_key
from dtq.embedded import PostgresServer, ValkeyServer

NOWHERE = "postgresql://127.0.0.1:1/none"
CLIENT = httpx.Client(timeout=60)  # one for all: each brings its certificates along, which takes longer than a request
atexit.register(CLIENT.close)
OPEN = {"livez", "readyz", "metrics"}
SUBMIT = {"submit", "submit_batch"}
KEYS = {role: new_key() for role in ROLES}
WRONG = {
    "an unknown key": {"Authorization": f"Bearer {new_key()[0]}"},
    "nothing after Bearer": {"Authorization": "Bearer"},
    "another scheme": {"Authorization": f"Basic {KEYS['admin'][0]}"},
    "no scheme": {"Authorization": KEYS["admin"][0]},
    "two keys in one": {"Authorization": f"Bearer {KEYS['admin'][0]} {KEYS['admin'][0]}"},
    "a part of a key": {"Authorization": f"Bearer {KEYS['admin'][0][:-1]}"},
    "a longer key": {"Authorization": f"Bearer {KEYS['admin'][0]}x"},
    "other capitals": {"Authorization": f"Bearer {KEYS['admin'][0].swapcase()}"},
    "the hash": {"Authorization": f"Bearer {KEYS['admin'][1]}"},
    "the hash's digits": {"X-API-Key": KEYS["admin"][1].removeprefix("sha256:")},
    "an empty key": {"X-API-Key": ""},
    "a long key": {"X-API-Key": "a" * 30_000},
    "a first key that is wrong": {"X-API-Key": "wrong", "Authorization": f"Bearer {KEYS['admin'][0]}"},
    "a key elsewhere": {"Cookie": f"key={KEYS['admin'][0]}", "Proxy-Authorization": f"Bearer {KEYS['admin'][0]}"},
}
ODD = {
    "bytes beyond ASCII": [(b"authorization", b"Bearer \xff\xfe\x80")],
    "bytes that are UTF-8": [(b"x-api-key", "schlüssel".encode())],
}


@pytest.fixture(scope="module")
def keyed(
    valkey_server: ValkeyServer, pg_server: PostgresServer, pg_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Path]]:
    """A submitter that wants keys, and its file of keys. It has a PostgreSQL: to wait in vain for one takes seconds each time."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("keys")
    path = folder / "keys"
    path.write_text("".join(f"{ApiKey(role, role, digest)}\n" for role, (_, digest) in KEYS.items()))
    settings = {"REDISADDR": valkey_server.url, "DATABASEURL": pg_server.url_of(pg_template), "APIKEYSFILE": path}
    with services("submitter", folder=folder, **settings) as [service]:
        yield service, path


@pytest.fixture(scope="module")
def operations(keyed: tuple[Service, Path]) -> list[tuple[str, str, str]]:
    """Id, method and a path of each operation of the document."""
    document = httpx.get(f"{keyed[0].url}/openapi.json", timeout=60).json()
    fill = {"{job_id}": "0193f0c2a1b00000n-default", "{queue}": "default", "{name}": "nightly"}
    found = []
    for pattern, item in document["paths"].items():
        path = pattern
        for parameter, value in fill.items():
            path = path.replace(parameter, value)
        assert "{" not in path, f"a value for {pattern} is missing here"
        found += [(operation["operationId"], method.upper(), path) for method, operation in item.items()]
    assert len(found) >= 21
    return found


def needed(name: str, method: str) -> str | None:
    """The role that the README promises."""
    if name in OPEN:
        return None
    return "submit" if name in SUBMIT else "read" if method == "GET" else "admin"


def ask(service: Service, method: str, path: str, headers: Any = None) -> httpx.Response:
    return CLIENT.request(method, service.url + path, headers=headers)


def test_the_document_says_that_keys_are_needed(keyed: tuple[Service, Path]) -> None:
    document = httpx.get(f"{keyed[0].url}/openapi.json", timeout=60).json()
    assert document["security"] == [{"bearer": []}, {"apiKey": []}]
    free = {
        operation["operationId"] for item in document["paths"].values() for operation in item.values() if operation.get("security") == []
    }
    assert free == OPEN


@pytest.mark.parametrize("what", ["no key", *WRONG, *ODD])
def test_without_a_right_key_nothing_is_done(keyed: tuple[Service, Path], operations: list[tuple[str, str, str]], what: str) -> None:
    for name, method, path in operations:
        answer = ask(keyed[0], method, path, WRONG.get(what) or ODD.get(what))
        if needed(name, method) is None:
            assert answer.status_code in (200, 503), (name, answer.text)
            continue
        assert answer.status_code == 401, (name, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.json()["type"] == "urn:dtq:problem:unauthorized"
        assert KEYS["admin"][0] not in answer.text


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("how", ["Bearer", "bearer", "X-API-Key"])
def test_a_role_may_do_what_the_ones_before_it_may(
    keyed: tuple[Service, Path], operations: list[tuple[str, str, str]], role: str, how: str
) -> None:
    key = KEYS[role][0]  # type: ignore[index]
    headers = {how: key} if how == "X-API-Key" else {"Authorization": f"{how} {key}"}
    for name, method, path in operations:
        answer = ask(keyed[0], method, path, headers)
        wanted = needed(name, method)
        if wanted is not None and ROLES.index(wanted) > ROLES.index(role):
            assert answer.status_code == 403, (name, answer.text)
        else:
            assert answer.status_code not in (401, 403), (name, answer.text)


def test_other_paths_and_methods_need_a_key_too(keyed: tuple[Service, Path]) -> None:
    for path in ("/nothing", "/jobs/", "//jobs", "/JOBS", "/livez/..%2fjobs", "/livez/x", "/docs/x", "/submit/", "/%6aobs"):
        for method in ("GET", "POST", "DELETE", "PATCH", "OPTIONS"):
            assert ask(keyed[0], method, path).status_code == 401, (method, path)


def put(path: Path, text: str) -> None:
    """Another file in its place: one that is written over is empty for a moment, and may be read in it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_a_key_that_is_withdrawn_is_good_for_nothing(keyed: tuple[Service, Path]) -> None:
    service, path = keyed
    key, digest = new_key()
    before = path.read_text()
    put(path, f"{before}{ApiKey('guest', 'read', digest)}\n")
    until(lambda: ask(service, "GET", "/queues", {"X-API-Key": key}).status_code == 200, "the key is taken")
    put(path, before)
    until(lambda: ask(service, "GET", "/queues", {"X-API-Key": key}).status_code == 401, "the key is refused")
    assert ask(service, "GET", "/queues", {"X-API-Key": KEYS["read"][0]}).status_code == 200


def test_nothing_about_keys_is_logged(keyed: tuple[Service, Path]) -> None:
    for key, digest in KEYS.values():
        ask(keyed[0], "GET", "/queues", {"X-API-Key": key})
        text = str(keyed[0].events())
        assert key not in text
        assert digest.removeprefix("sha256:") not in text


def test_time_tells_nothing_of_a_key() -> None:
    """By construction: what is compared are hashes, of all keys, whether one fitted or not, and by ``compare_digest``.

    Times measured over a network would not tell a thing as small from the noise.
    """
    tree = ast.parse(inspect.getsource(apikeys.find_key))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {"hash_key", "hmac.compare_digest"} <= calls
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Break | ast.Compare)], "an end before the last key"
    [loop] = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.Return)]


def test_without_keys_other_machines_are_not_served(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    refused = Service("submitter", tmp_path, {"REDISADDR": valkey_server.url, "DATABASEURL": NOWHERE, "APIADDR": "0.0.0.0:0"})
    assert refused.process.wait(60) == 2
    assert "can be reached from other machines: set APIKEYSFILE" in refused.events()[0]["text"]
