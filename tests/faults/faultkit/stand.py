"""A whole DTQ on this machine, each part a process that can be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from dtq.embedded import PostgresServer, ValkeyServer, free_port
from dtq.storage.migrate import migrate
from faultkit.history import Log
from faultkit.leaving import check_going

__all__ = ["KINDS", "QUICK", "Service", "Stand", "open_stand", "until"]

FAULTS = Path(__file__).parents[1]
KINDS = ("submitter", "worker", "scheduler")
_MIGRATING = threading.Lock()
"""Migrations work on globals of the module that does them; stands may be opened by threads."""
QUICK: dict[str, object] = {"RETRYBASE": "0.05", "RETRYCAP": "0.3", "SHUTDOWNSECONDS": "1"}
"""Settings under which retries do not make a test long; leases are the default's unless a scenario says otherwise."""


def until(what: str, condition: Callable[[], object], seconds: float = 60.0, pause: float = 0.05) -> Any:
    """The first true value of ``condition()``; an AssertionError that names ``what`` if none comes in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        check_going()
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
    return value


class Service:
    """One service process: started, killed and started again under the same name, settings and address."""

    def __init__(self, kind: str, name: str, environment: Mapping[str, str], folder: Path, log: Log, address: str) -> None:
        """``kind`` is one of KINDS; ``address`` is where it serves /livez (and the submitter its API)."""
        self.kind = kind
        self.name = name
        self.address = address
        self.output = folder / f"{name}.log"
        self._environment = dict(environment)
        self._log = log
        self.popen: subprocess.Popen[bytes] | None = None
        self._asked = False
        """Whether the process that there is has been told to end."""

    def start(self, *, launcher: Sequence[str] = (), **settings: object) -> Service:
        """Start it; ``launcher`` replaces ``-m dtq_KIND`` (arguments of the interpreter), ``settings`` are added to its environment."""
        assert not self.alive(), f"{self.name} runs already"
        check_going()
        environment = self._environment | {name: str(value) for name, value in settings.items()}
        command = [sys.executable, *(launcher or ("-m", f"dtq_{self.kind}"))]
        with self.output.open("ab") as out:
            self.popen = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        self._asked = False
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.popen is not None
        return self.popen.pid

    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.popen is not None and self.popen.poll() is None

    def fell(self) -> bool:
        """Whether it has ended by itself: nobody asked it to, and nothing killed it."""
        return not self.alive() and self.popen is not None and not self._asked and self.popen.returncode != -signal.SIGKILL

    def ready(self) -> bool:
        """Whether it answers /readyz with 200."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError, urllib.error.HTTPError):
            return False

    def metric(self, name: str) -> float:
        """The sum of a metric's samples on /metrics, over all its labels."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, and note it as a fault."""
        self._log.note("fault", text=number.name, target=self.name, pid=self.pid)
        self._asked |= number in (signal.SIGTERM, signal.SIGINT)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self.popen is not None:
            self.signal(signal.SIGKILL)
            self.popen.wait()

    def end(self, seconds: float = 20.0) -> None:
        """SIGTERM, and SIGKILL if it does not end."""
        if self.popen is None or self.popen.poll() is not None:
            return
        self._asked = True
        self.popen.send_signal(signal.SIGCONT)
        self.popen.terminate()
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class Stand:
    """Servers and services; made by :func:`open_stand`."""

    def __init__(self, folder: Path, valkey: ValkeyServer, postgres: PostgresServer, database: str) -> None:
        """On servers that run. ``database``: name of a migrated database of ``postgres``."""
        self.folder = folder
        self.history = folder / "history"
        self.history.mkdir()
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        self.valkey = valkey
        self.postgres = postgres
        self.redis_url = valkey.url
        self.database_url = postgres.url_of(database)
        self.log = Log(self.history, "fault")
        self.services: dict[str, Service] = {}

    @property
    def url(self) -> str:
        """Of the first submitter."""
        return f"http://{next(service.address for service in self.services.values() if service.kind == 'submitter')}"

    def of(self, kind: str) -> list[Service]:
        """The services of one kind."""
        return [service for service in self.services.values() if service.kind == kind]

    def add(self, kind: str, **settings: object) -> Service:
        """A service that is not started yet, with :data:`QUICK` and ``settings`` (by their names, such as LEASESECONDS=4)."""
        name = f"{kind}-{len(self.of(kind)) + 1}"
        address = f"127.0.0.1:{free_port()}"
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")} | {
            "TMPDIR": str(self._temporary),  # who is killed cannot clean up
            "PYTHONPATH": str(FAULTS),
            "HISTORY": str(self.history),
            "HANDLERS": "faultkit.jobs",
            "REDISADDR": self.redis_url,
            "DATABASEURL": self.database_url,
            "BLOBURL": f"file://{self.folder}/blobs",
            ("APIADDR" if kind == "submitter" else "METRICSADDR"): address,
        }
        environment |= {name: str(value) for name, value in {**QUICK, **settings}.items()}
        service = Service(kind, name, environment, self.folder, self.log, address)
        self.services[name] = service
        return service

    def start(self, submitters: int = 1, workers: int = 1, schedulers: int = 1, **settings: object) -> None:
        """Add and start services, and return when all are ready."""
        for kind, count in (("submitter", submitters), ("worker", workers), ("scheduler", schedulers)):
            for _ in range(count):
                self.add(kind, **settings).start()
        self.wait_ready()
        for service in self.services.values():
            assert service.popen is None or service.alive(), f"{service.name} ended as it started: {tail(service.output)}"

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Return when every service that runs is ready."""
        for service in self.services.values():
            if service.alive():
                try:
                    until(f"{service.name} is ready", lambda service=service: service.ready() or not service.alive(), seconds)  # type: ignore[misc]
                except AssertionError as error:
                    raise AssertionError(f"{error}: {tail(service.output)}") from error

    def ids(self) -> set[str]:
        """The ids of all rows of dtq.jobs."""
        with psycopg.connect(self.database_url) as connection:
            return {str(job) for (job,) in connection.execute("SELECT id FROM dtq.jobs")}

    def rows(self) -> list[dict[str, Any]]:
        """All rows of dtq.jobs."""
        with psycopg.connect(self.database_url, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute("SELECT * FROM dtq.jobs").fetchall()

    def close(self) -> None:
        """End the services."""
        for service in self.services.values():
            service.end()
        self.log.close()


def tail(path: Path, size: int = 1500) -> str:
    """The end of a text file."""
    return path.read_text(errors="replace")[-size:] if path.exists() else ""


@contextlib.contextmanager
def open_stand(*, valkey_args: Sequence[str] = (), postgres_settings: Mapping[str, str] | None = None) -> Iterator[Stand]:
    """A stand with a durable Valkey and PostgreSQL of its own, on fixed ports, so that both may be killed and started again.

    Services are added and started by the caller. On leaving, everything is ended and the folder removed.
    """
    folder = Path(tempfile.mkdtemp(prefix="dtq-faults-"))
    folder.chmod(0o755)
    valkey = ValkeyServer(folder / "valkey", free_port(), list(valkey_args))
    postgres = PostgresServer(folder / "postgres", free_port(), settings=postgres_settings)
    stand: Stand | None = None
    try:
        valkey.start()
        postgres.start()
        with _MIGRATING:
            migrate(postgres.url)
        stand = Stand(folder, valkey, postgres, "postgres")
        yield stand
    finally:
        if stand is not None:
            stand.close()
        valkey.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
