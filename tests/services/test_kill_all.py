"""SIGKILL of every process of ``dtq up`` at once, under load: every job whose 202 arrived ends exactly once."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from dtq.embedded import free_port

SECONDS = 90.0
ENOUGH = 1500
"""Jobs accepted before the kill."""

HANDLER = """
import asyncio
from pydantic import BaseModel
from dtq.registry import JobType, handler

class Mark(BaseModel):
    number: int

MARK = JobType("mark", Mark)

@handler(MARK)
async def mark(payload: Mark, ctx: object) -> int:
    await asyncio.sleep(0.002)
    return payload.number
"""


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in {SECONDS:g} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dtq-kill-", ignore_cleanup_errors=True) as path:
        (Path(path) / "marks.py").write_text(HANDLER)
        yield Path(path)


class System:
    """A ``dtq up`` on a fixed port, and the load on it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        self.process = self.start()
        self.accepted: list[str] = []
        self._numbers = itertools.count()
        self._stop = threading.Event()

    def start(self) -> subprocess.Popen[bytes]:
        variables = {
            "APIADDR": self.url.removeprefix("http://"),
            "DATADIR": str(self._folder / "data"),
            "HANDLERS": "marks",
            "WORKERS": "2",
        }
        paths = f"{self._folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "PYTHONPATH": paths, **variables}
        with open(self._folder / "up.log", "ab") as log:
            return subprocess.Popen([sys.executable, "-m", "dtq.cli", "up"], cwd=self._folder, env=environment, stdout=log, stderr=log)

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def ready(self) -> bool:
        try:
            return bool(self.call("/readyz"))
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def load(self) -> None:
        """Submit single jobs and batches until stopped; note the id of each that was accepted."""
        while not self._stop.is_set():
            try:
                if next(self._numbers) % 10:
                    self.accepted.append(self.call("/submit", self._job())["id"])
                else:
                    batch = self.call("/submit/batch", {"jobs": [self._job() for _ in range(50)]})
                    self.accepted.extend(job["id"] for job in batch["jobs"])
            except (
                OSError,
                ValueError,
                http.client.HTTPException,
            ):  # killed or away: nobody knows if it was accepted
                time.sleep(0.05)

    def _job(self) -> dict[str, Any]:
        return {"type": "mark", "payload": {"number": next(self._numbers)}}

    def kill(self) -> None:
        """Every process at once. Stopped first, so that none sees another die."""
        victims = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.send_signal(number)
        self.process.wait()

    def stop_load(self) -> None:
        self._stop.set()

    def end(self) -> None:
        self.stop_load()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture
def system(folder: Path) -> Iterator[System]:
    found = System(folder)
    yield found
    found.end()


def rows_of(folder: Path) -> list[tuple[str, str, Any, int]]:
    lines = (line.removeprefix("export ").partition("=") for line in (folder / "data" / "env").read_text().splitlines())
    url = next(value.strip("'\"") for name, _, value in lines if name == "DATABASEURL")
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, state, result, json_array_length(attempts) FROM dtq.jobs WHERE type = 'mark'").fetchall()


@pytest.mark.timeout(300)
def test_every_accepted_job_ends_exactly_once(system: System, folder: Path) -> None:
    until(system.ready, "ready")
    loaders = [threading.Thread(target=system.load) for _ in range(4)]
    for loader in loaders:
        loader.start()
    try:
        until(lambda: len(system.accepted) >= ENOUGH, "enough jobs accepted")
        system.kill()
        system.process = system.start()
        until(system.ready, "ready again")
        before = len(system.accepted)
        until(lambda: len(system.accepted) >= before + 200, "jobs accepted again")
    finally:
        system.stop_load()
        for loader in loaders:
            loader.join()

    def drained() -> bool:
        [stats] = system.call("/queues")["queues"]
        return bool(stats["demand"] == 0 and len(rows_of(folder)) >= len(system.accepted))

    until(drained, "all jobs ended and recorded")
    rows = Counter(row[0] for row in rows_of(folder))
    assert [job_id for job_id in system.accepted if rows[job_id] != 1] == []
    assert {state for _, state, _, _ in rows_of(folder)} == {"succeeded"}
