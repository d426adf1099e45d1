"""``dtq up`` as its users meet it: a real one, with all its processes, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dtq.embedded import PostgresServer

START_SECONDS = 60.0
DELAYED = {
    "type": "email",
    "payload": {"to": "user@example.com", "subject": "Test Email", "body": "This is a test email."},
    "delay": 3600,
}

ENDLESS = {
    "type": "data_processing",
    "payload": {"sql": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) AS n FROM r"},
    "timeout": 600,
}


class Up:
    """A running ``dtq up`` and what it prints."""

    def __init__(self, folder: Path, **variables: str) -> None:
        # Nothing of the environment that the tests themselves run in may point it at other servers.
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        environment |= {"APIADDR": "127.0.0.1:0", "DATADIR": str(folder / "data"), "SHUTDOWNSECONDS": "5", **variables}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dtq.cli", "up"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._fresh: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def until(self, pattern: str, seconds: float = START_SECONDS) -> str:
        """The first group of the next line that matches; fails when there is none."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._fresh.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(f"`dtq up` did not print {pattern!r} but:\n{self.output}")
            if found := re.search(pattern, line):
                return found[1]

    def until_ready(self) -> str:
        """Its address."""
        return self.until(r"ready at (http://\S+)")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.ended()

    def ended(self) -> int:
        """Its exit code; all that it printed is in ``lines`` now."""
        code = self.process.wait(START_SECONDS)
        self._reader.join(START_SECONDS)
        return code

    def destroy(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # so that it starts no other while its children are counted
            for child in self.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._fresh.put(self.lines[-1])
        self._fresh.put(None)


Start = Callable[..., Up]


@pytest.fixture(scope="session")
def database() -> Iterator[Path]:
    """A PostgreSQL folder to copy: making one anew takes a second or two."""
    # Not in pytest's folder: it is closed to the account that PostgreSQL runs under when the tests run as root.
    path = Path(tempfile.mkdtemp(prefix="dtq-up-database-"))
    server = PostgresServer(path)
    server.start()
    server.stop()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def folder(database: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dtq-up-"))
    (path / "data").mkdir()
    subprocess.run(["cp", "-a", database, path / "data" / "postgres"], check=True)
    yield path
    wait_for(lambda: removed(path), f"{path} is removed")


def removed(path: Path) -> bool:
    """Whether a folder is gone; a program that was killed may write its last file while it is deleted."""
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start one; it is gone after the test whatever happened."""
    started: list[Up] = []

    def start(**variables: str) -> Up:
        started.append(Up(folder, **variables))
        return started[-1]

    yield start
    for up in started:
        up.destroy()


def http(url: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.load(answer)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


def all_end(processes: list[psutil.Process], seconds: float = 30.0) -> bool:
    _gone, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [process for process in alive if not over(process)]


def over(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def services(up: Up) -> dict[str, psutil.Process]:
    """Children by the module they run."""
    found = {}
    for child in up.children():
        try:
            command = child.cmdline()
        except psutil.NoSuchProcess:  # PostgreSQL's come and go
            continue
        if "-m" in command:
            found[command[command.index("-m") + 1]] = child
    return found


def valkey(up: Up) -> psutil.Process:
    """The child that is the server."""
    for child in up.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "valkey-server" in child.name():
                return child
    pytest.fail("no Valkey runs")


def refused(up: Up) -> str:
    """The one line it ended with, because something is wrong that the user can put right."""
    children = up.children() if up.process.poll() is None else []
    assert up.ended() == 2
    assert all_end(children)
    up.until(r"^dtq: ()")
    return up.lines[-1]


def test_ctrl_c_stops_everything(start: Start) -> None:
    up = start(WORKERS="2")
    up.until_ready()
    children = up.children()
    assert len(children) > 5
    assert up.stop(signal.SIGINT) == 0
    assert all_end(children)
    assert up.lines[-1] == "stopped"
    assert "Traceback" not in up.output


def test_sigterm_stops_everything_even_while_the_database_is_made(start: Start, folder: Path) -> None:
    shutil.rmtree(folder / "data" / "postgres")
    up = start()
    up.until(r"(PostgreSQL database)")
    children = up.children()
    assert up.stop(signal.SIGTERM) == 0
    assert all_end(children)
    assert "Traceback" not in up.output


def test_second_ctrl_c_does_not_wait_for_running_jobs(start: Start) -> None:
    up = start(SHUTDOWNSECONDS="600")
    address = up.until_ready()
    job = http(f"{address}/submit", ENDLESS)["id"]
    wait_for(lambda: http(f"{address}/jobs/{job}")["state"] == "running", "the job runs")
    children = up.children()
    up.process.send_signal(signal.SIGINT)
    up.until(r"^(stopping)")
    assert up.stop(signal.SIGINT) == 0
    assert all_end(children)


def test_second_instance_on_the_same_data_is_refused(start: Start, folder: Path) -> None:
    first = start()
    first.until(r"(Valkey runs)")
    assert refused(start()) == f"dtq: DTQ is already running on {folder}/data (process {first.process.pid}); stop it or set another DATADIR"


def test_data_and_server_ports_outlive_a_restart(start: Start, folder: Path) -> None:
    first = start()
    job = http(first.until_ready() + "/submit", DELAYED)["id"]
    addresses = (folder / "data/env").read_text()
    assert first.stop(signal.SIGINT) == 0
    again = start()
    assert http(f"{again.until_ready()}/jobs/{job}")["state"] == "scheduled"
    assert (folder / "data/env").read_text() == addresses


def test_children_die_with_a_killed_parent_and_a_new_start_works_at_once(start: Start) -> None:
    first = start()
    job = http(first.until_ready() + "/submit", DELAYED)["id"]
    children = first.children()
    first.process.kill()
    first.process.wait()
    again = start()
    assert all_end(children)
    assert http(f"{again.until_ready()}/jobs/{job}")["state"] == "scheduled"


def test_everything_killed_at_once_loses_nothing(start: Start) -> None:
    first = start()
    job = http(first.until_ready() + "/submit", DELAYED)["id"]
    first.destroy()
    assert http(f"{start().until_ready()}/jobs/{job}")["state"] == "scheduled"


def test_example_of_the_start_message_works(start: Start, folder: Path) -> None:
    up = start()
    address = up.until_ready()
    command = up.until(r"^\s*(curl .*)")
    body = re.search(r"-d '(.*)'", command)
    assert body is not None
    job = http(f"{address}/submit", json.loads(body[1]))["id"]
    assert http(f"{address}/jobs/{job}?wait=60")["state"] == "succeeded"
    assert len(list((folder / "data/mail").glob("*.eml"))) == 1


def test_what_dies_is_started_again(start: Start) -> None:
    up = start()
    up.until_ready()
    services(up)["dtq_scheduler"].kill()
    up.until(r"(scheduler was killed by SIGKILL, starts again)")
    valkey(up).kill()
    up.until(r"(Valkey ended, starts again)")
    assert up.stop(signal.SIGINT) == 0


def test_port_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(start(APIADDR=f"127.0.0.1:{port}"))
    assert line.startswith(f"dtq: APIADDR=127.0.0.1:{port}: another program listens there")


def test_data_folder_that_cannot_be(start: Start, folder: Path) -> None:
    (folder / "file").touch()
    assert refused(start(DATADIR=str(folder / "file" / "data"))) == (
        f"dtq: DATADIR={folder}/file/data: Not a directory ({folder}/file/data)"
    )


def test_wrong_setting(start: Start) -> None:
    assert refused(start(WORKERCOUNT="many")).startswith("dtq: WORKERCOUNT='many': ")


def test_setting_that_only_a_service_can_judge(start: Start) -> None:
    assert "no_such_module" in refused(start(HANDLERS="no_such_module"))


def test_database_that_is_away(start: Start) -> None:
    up = start(DATABASEURL="postgresql://127.0.0.1:1/dtq")
    assert up.ended() == 1
    assert up.lines[-1].startswith("dtq: PostgreSQL does not answer")


LEAVES_A_PROCESS = """
import os, time
from pydantic import BaseModel
from dtq.registry import JobType, handler

class Nothing(BaseModel):
    pass

FORKS = JobType("forks", Nothing)

@handler(FORKS)
def forks(payload: Nothing, ctx: object) -> int:
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    return child
"""


def test_a_dead_worker_is_replaced_although_a_process_it_left_holds_its_output(start: Start, folder: Path) -> None:
    (folder / "leaves.py").write_text(LEAVES_A_PROCESS)
    up = start(HANDLERS="leaves", PYTHONPATH=f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    address = up.until_ready()
    job = http(address + "/submit", {"type": "forks", "payload": {}})["id"]
    left = psutil.Process(http(f"{address}/jobs/{job}?wait=60")["result"])
    try:
        services(up)["dtq_worker"].kill()
        up.until("(worker-1).*starts again")
        again = http(address + "/submit", {"type": "email", "payload": DELAYED["payload"]})["id"]
        assert http(f"{address}/jobs/{again}?wait=60")["state"] == "succeeded"
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
