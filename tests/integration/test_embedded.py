"""The embedded servers: durable, one per folder, gone with their parent, and plain about what keeps them from starting."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from dtq.embedded import EmbeddedServer, PostgresServer, ValkeyServer, free_port
from dtq.embedded.process import last_complaint, wait_until
from dtq.errors import ConfigError

HOLDER = """
import signal, sys
from dtq.embedded import PostgresServer, ValkeyServer
server = {kind}({folder!r})
server.start()
print(server.pid, flush=True)
signal.pause()
"""
KINDS = [ValkeyServer, PostgresServer]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dtq-embedded-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def holder(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that has started a server (of the test's ``kind``) in ``folder``, and the server's pid."""
    kind: type[EmbeddedServer] = request.getfixturevalue("kind")
    program = HOLDER.format(kind=kind.__name__, folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server_pid = int(process.stdout.readline())
        yield process, server_pid
        process.kill()
        assert wait_until(lambda: is_gone(server_pid), 20), "the server outlives its parent"


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # ended; whoever adopted it has yet to take notice


def test_valkey_keeps_acknowledged_writes_over_a_crash(folder: Path) -> None:
    server = ValkeyServer(folder)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
    server.kill()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"
    server.stop()


def test_postgres_keeps_commits_over_a_crash(folder: Path) -> None:
    server = PostgresServer(folder)
    server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert server.process is not None
    server.kill()
    server.start()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    server.stop()


def test_postgres_starts_beside_the_zombie_of_a_killed_one(folder: Path) -> None:
    dead = PostgresServer(folder)
    dead.start()
    assert dead.pid is not None
    os.kill(dead.pid, signal.SIGKILL)  # and nobody waits for it
    again = PostgresServer(folder)
    try:
        again.start()
        assert again.alive()
    finally:
        again.stop()
        dead.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_ends_with_its_killed_parent(kind: type[EmbeddedServer], holder: tuple[subprocess.Popen[str], int]) -> None:
    process, server_pid = holder
    process.kill()
    assert wait_until(lambda: is_gone(server_pid), 20), "the server outlives its parent"


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_replaces_the_server_of_a_killed_parent(
    kind: type[EmbeddedServer], holder: tuple[subprocess.Popen[str], int], folder: Path
) -> None:
    process, server_pid = holder
    process.kill()
    process.wait()
    server = kind(folder)
    server.start()
    assert server.alive()
    assert is_gone(server_pid)
    server.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_serves_one_process_at_a_time(kind: type[EmbeddedServer], holder: tuple[subprocess.Popen[str], int], folder: Path) -> None:
    with pytest.raises(ConfigError, match="in use by another running DTQ"):
        kind(folder).start()
    assert not is_gone(holder[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_in_use_is_said_in_one_line(kind: type[EmbeddedServer], folder: Path) -> None:
    port = free_port()
    with ValkeyHolding(folder / "other", port), pytest.raises(ConfigError, match=rf"^port {port} on 127\.0\.0\.1 is in use[^\n]*$"):
        kind(folder / "mine", port).start()


class ValkeyHolding:
    """A Valkey on a port, for the length of a with block."""

    def __init__(self, folder: Path, port: int) -> None:
        self.server = ValkeyServer(folder, port)

    def __enter__(self) -> None:
        self.server.start()

    def __exit__(self, *_: object) -> None:
        self.server.stop()


def test_a_folder_with_other_files_is_refused(folder: Path) -> None:
    (folder / "db").mkdir()
    (folder / "db" / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="holds files but no PostgreSQL database"):
        PostgresServer(folder).start()


def test_a_damaged_postgres_folder_is_said_in_one_line(folder: Path) -> None:
    server = PostgresServer(folder)
    server.start()
    server.stop()
    (server.files / "global" / "pg_control").unlink()
    with pytest.raises(ConfigError, match=r"^PostgreSQL cannot start on [^\n]*pg_control[^\n]*$"):
        server.start()


def test_a_damaged_append_only_file_is_said_in_one_line(folder: Path) -> None:
    server = ValkeyServer(folder)
    server.start()
    server.stop()
    for part in (server.files / "appendonlydir").glob("*.incr.aof"):
        part.write_bytes(b"not a command\r\n" * 3)
    with pytest.raises(ConfigError, match=r"^Valkey cannot start on [^\n]*$"):
        server.start()


def test_a_folder_that_cannot_be_made_is_said_in_one_line(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(ConfigError, match=r"^Valkey cannot use [^\n]*$"):
        ValkeyServer(folder / "file" / "data").start()


def test_a_full_disk_is_said_in_plain_words() -> None:
    log = "could not write to file: No space left on device\nstopped"
    assert last_complaint(log) == "no disk space left; free some"


def test_stop_leaves_no_process(folder: Path) -> None:
    server = ValkeyServer(folder)
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    assert not server.alive()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
