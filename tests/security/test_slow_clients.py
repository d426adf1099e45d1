"""Clients that take their time are cut off after REQUESTSECONDS, hold nothing for longer, and delay nobody."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from raw_http import GET, send
from service_process import Service, until

EMAIL: dict[str, Any] = {"type": "email", "payload": {"to": "user@example.com", "subject": "s", "body": "b"}}
POST = b"POST /submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

LATE: dict[str, tuple[bytes, str]] = {
    "half a line": (b"GET /li", "head-timeout"),
    "half a head": (b"GET /livez HTTP/1.1\r\nHost: loc", "head-timeout"),
    "a head without its end": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", "head-timeout"),
    "no body": (POST + b"Content-Length: 10\r\n\r\n", "body-timeout"),
    "half a body": (POST + b"Content-Length: 10\r\n\r\n{", "body-timeout"),
    "half a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", "body-timeout"),
    "no last chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "body-timeout"),
    "half a trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ", "body-timeout"),
    "half a spec": (b"PUT /schedules/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{", "body-timeout"),
}


def test_a_request_that_stops_is_answered_with_408(api: Service) -> None:
    """All at the same time: each takes REQUESTSECONDS."""
    with ThreadPoolExecutor(len(LATE)) as pool:
        answers = pool.map(lambda late: send(api.port, late[0]), LATE.values())
        for (what, (_, kind)), answer in zip(LATE.items(), answers, strict=True):
            assert (answer.closed, answer.statuses) == (True, [408]), what
            assert answer.problem["type"] == f"urn:dtq:problem:{kind}", what
            assert "6 s (REQUESTSECONDS)" in answer.problem["detail"], what


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n"])
def test_a_connection_without_a_request_is_closed(api: Service, data: bytes) -> None:
    answer = send(api.port, data)
    assert (answer.closed, answer.data) == (True, b"")


def test_a_body_that_nobody_reads_may_not_take_for_ever_either(api: Service) -> None:
    answer = send(api.port, GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 10\r\n\r\n{"))
    assert (answer.closed, answer.statuses) == (True, [200])


def test_the_next_request_on_a_connection_is_no_exception(api: Service) -> None:
    answer = send(api.port, GET + GET[:-4])
    assert (answer.closed, answer.statuses) == (True, [200, 408])


def test_a_client_that_went_while_it_sent_is_no_failure(api: Service) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as sock:
        sock.sendall(b"PUT /schedules/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
    assert send(api.port, GET, want=1).statuses == [200]
    assert [event for event in api.events() if event.get("level") == "error" or "text" in event] == []


def test_a_client_that_does_not_read_its_answer_is_cut_off(api: Service) -> None:
    """The page has megabytes: more than the system's buffers take."""
    big = {**EMAIL, "queue": "big", "payload": {**EMAIL["payload"], "body": "x" * 2_000_000}}
    for _ in range(4):
        assert httpx.post(f"{api.url}/submit", json=big, timeout=60).status_code == 202
    process = psutil.Process(api.process.pid)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", api.port))
        name = sock.getsockname()
        sock.sendall(GET.replace(b"/livez", b"/jobs?queue=big&state=queued"))
        until(lambda: name in peers(process), "the connection is there")
        until(lambda: name not in peers(process), "the connection is given up")


def peers(process: psutil.Process) -> set[tuple[str, int]]:
    return {(one.raddr[0], one.raddr[1]) for one in process.net_connections("tcp") if one.status == "ESTABLISHED" and one.raddr}


def test_a_client_that_reads_slowly_but_steadily_gets_all_of_it(api: Service) -> None:
    """Longer than REQUESTSECONDS: what counts is that it goes on."""
    with httpx.stream("GET", f"{api.url}/jobs?queue=big&state=queued", timeout=60) as answer:
        assert answer.status_code == 200
        size, began = 0, time.monotonic()
        for number, part in enumerate(answer.iter_raw(65536)):
            size += len(part)
            if number < 30:
                time.sleep(max(0.0, began + number / 4 - time.monotonic()))  # 256 kB a second at first
                socket.create_connection(("127.0.0.1", api.port)).close()
                until(lambda: send(api.port, GET, want=1).statuses == [200], "somebody else is served meanwhile")
    assert size == int(answer.headers["content-length"])


async def slow(port: int, data: bytes, ends: Counter[str]) -> None:
    """One byte at a time, for as long as the server takes it; nearly a minute if it never refuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
    try:
        for number in range(500):
            writer.write(data[number : number + 1])
            await writer.drain()
            if reading.done():
                break
            await asyncio.wait([reading], timeout=0.1)
        async with asyncio.timeout(30):
            found = await reading
        ends[found[9:12].decode() or "closed"] += 1
    except ConnectionError:
        ends["closed"] += 1
    except TimeoutError:
        ends["still open"] += 1
    finally:
        reading.cancel()
        writer.close()


async def test_hundreds_of_slow_clients_disturb_nobody(api: Service) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1000
    body = POST + b"Content-Length: 1000\r\n\r\n"
    process, ends = psutil.Process(api.process.pid), Counter[str]()
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as http:
        assert (await http.get("/livez")).status_code == 200
        before = process.num_fds()
        tasks = [asyncio.create_task(slow(api.port, data, ends)) for data in (head, body, b"", head) for _ in range(100)]
        good = 0
        while not all(task.done() for task in tasks):
            answer = await http.post("/submit", json=EMAIL)
            assert answer.status_code == 202
            good += 1
        await asyncio.gather(*tasks)
        assert good >= 20, "served while the others dawdled"
        assert ends["still open"] == 0, ends
        assert set(ends) <= {"408", "closed"}, ends
        assert ends["408"] >= 200, ends
    until(lambda: process.num_fds() <= before, "no connection is left")
