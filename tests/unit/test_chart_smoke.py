"""The program of `helm test`, against a service that answers as a submitter does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chart_kit import CHART

SMOKE = (CHART / "files/smoke.py").read_text("utf-8")
ENDED = {"id": "1-default", "queue": "default", "state": "succeeded", "result": [{"total": 42}]}


@contextmanager
def answering(answer: Callable[[str, int], tuple[int, dict[str, Any]]]) -> Iterator[tuple[str, list[str]]]:
    """A service; ``answer`` takes the method and how many requests came before. Yields its URL and the methods seen."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answer(self.command, len(seen))
            seen.append(self.command)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve  # noqa: N815 - the server's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def smoke(url: str, **changes: float) -> subprocess.CompletedProcess[str]:
    """Run it; ``changes`` are those of its constants."""
    source = SMOKE
    for name, value in {"PAUSE": 0.0, **changes}.items():
        lines = [line for line in source.splitlines() if line.startswith(f"{name} = ")]
        assert len(lines) == 1, name
        source = source.replace(lines[0], f"{name} = {value}")
    environment = {**os.environ, "URL": url, "QUEUE": "default", "KEY": "k", "no_proxy": "*"}
    return subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_it_submits_and_sees_the_result() -> None:
    with answering(lambda method, _: (202, ENDED | {"state": "queued"}) if method == "POST" else (200, ENDED)) as (url, seen):
        done = smoke(url)
    assert (done.returncode, seen) == (0, ["POST", "GET"]), done.stderr
    assert "succeeded: " in done.stdout


def test_a_key_that_is_not_known_yet_is_tried_again() -> None:
    def answer(method: str, count: int) -> tuple[int, dict[str, Any]]:
        if count in (0, 1, 3):
            return 401, {"detail": "no"}
        return 200, ENDED | {"state": "queued"} if method == "POST" else ENDED

    with answering(answer) as (url, seen):
        done = smoke(url)
    assert (done.returncode, seen) == (0, ["POST", "POST", "POST", "GET", "GET"]), done.stderr
    assert "a changed key takes up to 90 s" in done.stdout


def test_a_key_that_stays_unknown_and_other_refusals_fail() -> None:
    with answering(lambda _method, _count: (401, {"detail": "no"})) as (url, seen):
        done = smoke(url, KEY_SECONDS=0)
    assert (done.returncode, seen) == (1, ["POST"])
    assert "POST /submit: 401" in done.stderr
    with answering(lambda _method, _count: (403, {"detail": "no"})) as (url, seen):
        done = smoke(url)
    assert (done.returncode, seen) == (1, ["POST"])
