"""What a client may send is bounded: each bound has its answer, and the submitter goes on."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from raw_http import GET, read, send
from service_process import Service, services, until

from dtq.embedded import ValkeyServer
from dtq_submitter.protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, MAX_URL_BYTES
from dtq_submitter.waits import MAX_WAITS

EMAIL: dict[str, Any] = {"type": "email", "payload": {"to": "user@example.com", "subject": "s", "body": "b"}}
START = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
LARGE = MAX_HEAD_BYTES + 1

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "a long URL": (b"GET /" + b"a" * MAX_URL_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "url-too-long"),
    "a URL that never ends": (b"GET /" + b"a" * 3_000_000, 414, "url-too-long"),
    "a large header": (START + b"X: " + b"a" * LARGE + b"\r\n\r\n", 431, "head-too-large"),
    "a header that never ends": (START + b"X: " + b"a" * 3_000_000, 431, "head-too-large"),
    "a name that never ends": (START + b"a" * 3_000_000, 431, "head-too-large"),
    "many headers": (START + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431, "head-too-large"),
    "headers that never end": (START + b"a: b\r\n" * 500_000, 431, "head-too-large"),
    "empty lines that never end": (b"\r\n" * 1_500_000, 431, "head-too-large"),
    "a trailer that never ends": (CHUNKED + b"0\r\nX: " + b"a" * 3_000_000, 431, "head-too-large"),
    "trailers that never end": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 500_000, 431, "head-too-large"),
    "a chunk's extension that never ends": (CHUNKED + b"2;a=" + b"b" * 3_000_000, 431, "head-too-large"),
    "no HTTP": (b"hello\r\n\r\n", 400, "malformed-request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed-request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed-request"),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "malformed-request"),
    "a length and chunks": (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400, "malformed-request"),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400, "malformed-request"),
    "a length without end": (POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400, "malformed-request"),
    "a chunk of no size": (CHUNKED + b"zz\r\n", 400, "malformed-request"),
    "bytes beyond ASCII in the URL": (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed-request"),
    "a tunnel": (b"CONNECT example.com:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed-request"),
    "NUL in a header": (START + b"X: a\0b\r\n\r\n", 400, "malformed-request"),
    "a folded header": (START + b"X: a\r\n b\r\n\r\n", 400, "malformed-request"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_heads_are_bounded(api: Service, what: str) -> None:
    data, status, kind = REFUSED[what]
    answer = send(api.port, data)
    assert answer.closed
    assert answer.statuses == [status]
    assert answer.problem["type"] == f"urn:dtq:problem:{kind}"
    assert send(api.port, GET, want=1).statuses == [200]


def test_a_client_that_asks_whether_to_go_on_and_does_not_wait_for_it_fills_no_log(api: Service) -> None:
    """It is refused before the request is served, which then would invite it to send the body."""
    before = len(api.events())
    data = CHUNKED.replace(b"\r\n\r\n2\r\n{}", b"\r\nExpect: 100-continue\r\n\r\nzz", 1)
    answer = send(api.port, data)
    assert answer.closed
    assert answer.statuses == [400]
    assert send(api.port, GET, want=1).statuses == [200]
    assert api.events()[before:] == []


def test_heads_within_the_bounds_are_taken(api: Service) -> None:
    large = START + b"X: " + b"a" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"
    many = START + b"a: b\r\n" * (MAX_HEADERS - 1) + b"\r\n"
    query = b"GET /livez?" + b"a" * (MAX_URL_BYTES - 20) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for data in (large, many, query):
        assert send(api.port, data, want=1).statuses == [200]


def test_a_head_may_follow_a_large_body_in_the_same_piece(api: Service) -> None:
    """Counted as a whole, the piece would be larger than a head may be."""
    body = json.dumps(EMAIL).encode().ljust(200_000)
    first = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as sock:
        sock.sendall(first + GET[:20])
        assert read(sock, want=1).statuses == [202]
        sock.sendall(GET[20:])
        assert read(sock, want=1).statuses == [200]


def test_requests_in_a_row_are_answered_in_order(api: Service) -> None:
    other = GET.replace(b"/livez", b"/nothing")
    assert send(api.port, (GET + other) * 10, want=20).statuses == [200, 404] * 10


def test_not_more_requests_in_a_row_than_that(api: Service) -> None:
    assert send(api.port, GET * (MAX_PIPELINED + 5000)).closed
    assert send(api.port, GET, want=1).statuses == [200]


@pytest.mark.parametrize("wanted", ["websocket", "h2c"])
def test_nothing_is_upgraded_to(api: Service, wanted: str) -> None:
    data = START + f"Connection: Upgrade\r\nUpgrade: {wanted}\r\nSec-WebSocket-Key: YQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    answer = send(api.port, data + b"whatever follows")
    assert (answer.statuses, answer.closed) == ([200], True)


def test_bodies_are_bounded_whether_their_length_is_told_or_not(api: Service) -> None:
    told = POST + b"Content-Length: %d\r\n\r\n{" % (11 * 1024 * 1024)
    assert send(api.port, told).problem["type"] == "urn:dtq:problem:too-large"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as sock:
        sock.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 10 + b"5\r\n     ")
        assert read(sock, want=1).statuses == [413]


def test_a_body_that_nobody_wants_is_taken_off_the_connection(api: Service) -> None:
    body = GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 300000\r\n\r\n") + b"x" * 300_000
    assert send(api.port, body + GET, want=2).statuses == [200, 200]


def test_batches_are_bounded(api: Service) -> None:
    assert httpx.post(f"{api.url}/submit/batch", json={"jobs": [EMAIL] * 1000}, timeout=60).status_code == 202
    answer = httpx.post(f"{api.url}/submit/batch", json={"jobs": [EMAIL] * 1001}, timeout=60)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "jobs")
    assert httpx.post(f"{api.url}/submit/batch", json={"jobs": []}, timeout=60).status_code == 422


def waits(api: Service) -> int:
    found = httpx.get(f"{api.url}/metrics", timeout=60).text
    return int(float(next(line.split()[1] for line in found.splitlines() if line.startswith("dtq_http_waits "))))


@pytest.fixture
def job(api: Service) -> str:
    """A job that does not end by itself: there is no worker."""
    return str(httpx.post(f"{api.url}/submit", json=EMAIL, timeout=60).json()["id"])


def poll(job: str) -> bytes:
    return GET.replace(b"/livez", f"/jobs/{job}?wait=60".encode())


def test_who_leaves_waits_no_longer(api: Service, job: str) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as alone, socket.create_connection(("127.0.0.1", api.port)) as queued:
        alone.sendall(poll(job))
        queued.sendall(poll(job) + GET)  # a request that waits for its turn must not hide that the client has gone
        until(lambda: waits(api) == 2, "both wait")
    until(lambda: waits(api) == 0, "nobody waits", seconds=30)


def test_a_burst_of_polls_is_told_that_it_is_too_many_and_not_that_a_server_is_down(api: Service, job: str) -> None:
    """Each looks at its job first: many times as many calls as there are connections to Redis."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(MAX_WAITS + 50):
            sockets.append(stack.enter_context(socket.create_connection(("127.0.0.1", api.port), timeout=60)))
            sockets[-1].sendall(poll(job))  # at once: a connection that sends nothing for REQUESTSECONDS is closed
        until(lambda: waits(api) == MAX_WAITS, "as many wait as may")
        selector = stack.enter_context(selectors.DefaultSelector())
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        until(lambda: len(selector.select(0)) >= 50, "the others are answered")
        refused = [sock for sock in sockets if sock in {key.fileobj for key, _ in selector.select(0)}]
        answers = [read(sock, want=1) for sock in refused]
        assert {(answer.statuses[0], answer.problem["type"]) for answer in answers} == {(429, "urn:dtq:problem:too-many-waits")}
        assert httpx.delete(f"{api.url}/jobs/{job}", timeout=60).status_code == 200
        assert {read(sock, want=1).statuses[0] for sock in sockets if sock not in refused} == {200}  # all at once look at their job again
    until(lambda: waits(api) == 0, "nobody waits")


@pytest.fixture
def narrow(valkey_server: ValkeyServer, tmp_path: Path) -> Iterator[Service]:
    """A submitter that takes few connections."""
    nowhere = "postgresql://127.0.0.1:1/none"
    with services("submitter", folder=tmp_path, REDISADDR=valkey_server.url, DATABASEURL=nowhere, MAXCONNECTIONS=20) as [service]:
        yield service


def test_connections_are_bounded(narrow: Service) -> None:
    sockets = [socket.create_connection(("127.0.0.1", narrow.port), timeout=60) for _ in range(20)]
    for sock in sockets:  # the one of the fixture's own may linger for a moment
        until(lambda sock=sock: _served(sock), "each is served")  # type: ignore[misc]
    refused = send(narrow.port, GET)
    assert refused.statuses == [503]
    assert refused.problem["type"] == "urn:dtq:problem:too-many-connections"
    assert b"\r\nretry-after: 1\r\n" in refused.data
    sockets.pop().close()
    until(lambda: send(narrow.port, GET, want=1).statuses == [200], "there is room for another")
    for sock in sockets:
        assert _served(sock)
        sock.close()


def test_a_flood_of_connections_leaves_those_there_are_alone(narrow: Service) -> None:
    held = socket.create_connection(("127.0.0.1", narrow.port), timeout=60)
    assert _served(held)
    flood = [socket.create_connection(("127.0.0.1", narrow.port), timeout=60) for _ in range(500)]
    assert _served(held)
    for sock in [held, *flood]:
        sock.close()
    until(lambda: send(narrow.port, GET, want=1).statuses == [200], "there is room again")


def _served(sock: socket.socket) -> bool:
    sock.sendall(GET)
    return read(sock, want=1).statuses == [200]
