"""The submitter as a process: real sockets, and a graceful end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from submitter_api import EMAIL, NOWHERE


@pytest.fixture
def process(redis_url: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        addr = f"127.0.0.1:{sock.getsockname()[1]}"
    env = {
        **os.environ,
        "APIADDR": addr,
        "REDISADDR": redis_url,
        "DATABASEURL": NOWHERE,
        "BLOBURL": f"file://{tmp_path}",
        "SHUTDOWNSECONDS": "20",
    }
    started = subprocess.Popen([sys.executable, "-m", "dtq_submitter"], env=env)
    try:
        until(lambda: httpx.get(f"http://{addr}/livez", timeout=10).status_code == 200, "the submitter answers")
        yield started, f"http://{addr}"
    finally:
        started.kill()
        started.wait()


def until(condition: object, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():  # type: ignore[operator]
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def test_it_serves_and_stops_on_sigterm_without_waiting_for_long_polls(process: tuple[subprocess.Popen[bytes], str]) -> None:
    started, url = process
    job = httpx.post(f"{url}/submit", json=EMAIL, timeout=60).json()["id"]
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(httpx.get, f"{url}/jobs/{job}?wait=60", timeout=70)
        until(lambda: "dtq_http_waits 1.0" in httpx.get(f"{url}/metrics").text, "the long poll waits")
        started.send_signal(signal.SIGTERM)
        assert poll.result(40).json()["state"] == "queued"
    assert started.wait(40) == 0


def test_a_large_body_is_refused_before_it_is_sent(process: tuple[subprocess.Popen[bytes], str]) -> None:
    host, _, port = process[1].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        sock.sendall(b"POST /submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 11534336\r\n\r\n{")
        assert sock.recv(4096).startswith(b"HTTP/1.1 413")


def test_an_idle_connection_is_kept_for_a_proxy_that_may_use_it_again(process: tuple[subprocess.Popen[bytes], str]) -> None:
    connection = http.client.HTTPConnection(process[1].removeprefix("http://"), timeout=60)
    connection.request("GET", "/livez")
    connection.getresponse().read()
    connection.sock.settimeout(6)  # uvicorn by itself closes after 5 s
    with pytest.raises(TimeoutError):
        connection.sock.recv(1)
    connection.close()
