"""`dtq migrate --wait`, as the chart's init containers run it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dtq.cli import main
from dtq.embedded import PostgresServer, free_port

Captured = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, dsn: str, *options: str) -> int:
    monkeypatch.setenv("DATABASEURL", dsn)
    return main(["migrate", *options])


def test_a_wrong_password_is_told_at_once_as_what_it_is(
    pg_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    right = pg_server.url_of("any")
    wrong = right.replace(str(urlsplit(right).password), "wrong")
    assert run(monkeypatch, wrong, "--wait", "60") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dtq: PostgreSQL refuses: ")
    assert line.endswith('password authentication failed for user "postgres"')


class Clock:
    """A clock that moves only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_server_that_stays_away_is_waited_for_and_named(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    clock = Clock()
    monkeypatch.setattr("dtq.storage.migrate.time", clock)
    port = free_port()
    assert run(monkeypatch, f"postgresql://dtq@127.0.0.1:{port}/dtq", "--wait", "10") == 1
    assert 10 <= clock.now < 20
    waiting, away = capsys.readouterr().err.splitlines()
    assert waiting.startswith("dtq: waiting up to 10 s for PostgreSQL: ")
    assert away.startswith("dtq: PostgreSQL does not answer: ")
    assert str(port) in away


def test_a_server_that_comes_up_is_migrated(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    with tempfile.TemporaryDirectory(prefix="dtq-pg-") as folder:
        server = PostgresServer(Path(folder), port=free_port(), settings={"fsync": "off"})
        server.start()
        dsn = server.url_of("late")
        server.stop()
        restart = threading.Thread(target=server.start)
        try:
            restart.start()
            assert run(monkeypatch, dsn, "--wait", "60") == 0
        finally:
            restart.join()
            server.stop()
    assert capsys.readouterr().out == "the database has the present schema\n"


def test_waiting_ends_at_sigterm_also_where_nothing_ends_by_itself() -> None:
    """As process 1 of a container, to which the kernel gives only signals that are handled: hence not -15."""
    env = {"DATABASEURL": f"postgresql://dtq@127.0.0.1:{free_port()}/dtq", "PATH": ""}
    command = [sys.executable, "-m", "dtq.cli", "migrate", "--wait", "600"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "waiting up to 600 s" in process.stderr.readline()
        process.terminate()
        assert process.wait(30) == 143
