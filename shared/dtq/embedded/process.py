"""What the two embedded servers have in common: a data folder with a lock, a child process, and readable failures."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from dtq.errors import ConfigError

__all__ = ["HOST", "EmbeddedServer", "PortInUse", "free_port"]

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
ATTEMPTS = 5
"""Tries to start on a free port: between choosing it and binding it, somebody else may take it."""

_LAUNCH = """\
import ctypes, os, sys
uid, gid, parent, death_signal = map(int, sys.argv[1:5])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if death_signal:
    ctypes.CDLL(None).prctl(1, death_signal)
    if os.getppid() != parent:
        sys.exit("the starting process has ended")
os.execv(sys.argv[5], sys.argv[5:])
"""
# prctl(PR_SET_PDEATHSIG) must come after setuid, which clears it. It runs in an interpreter of its own instead of a
# preexec_fn, which may deadlock in a process with threads; execv keeps the pid.


class PortInUse(ConfigError):
    """Another program listens on the port."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


class EmbeddedServer(ABC):
    """A server that runs as a child of this process.

    ``data_dir`` is created when missing. ``port`` 0 picks a free one at every start.
    """

    title: str
    stop_signal: signal.Signals
    """Asks the server for a clean and quick stop."""

    def __init__(self, data_dir: str | os.PathLike[str], port: int = 0) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.files = self.data_dir / "db"
        self.log_path = self.data_dir / "server.log"
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self._fixed_port = port != 0
        self._lock: IO[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @property
    def pid(self) -> int | None:
        """Process id of the server, None before the first start."""
        return None if self.process is None else self.process.pid

    def alive(self) -> bool:
        """Whether the server process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the server and wait until it answers. Blocks.

        Called from the main thread, it ties the server's life to this process (Linux): the kernel stops the server
        when the calling *thread* ends, which is why other threads do without.

        Raises:
            ConfigError: one line: the port is in use, the disk is full, the data folder is broken or in use, or the
                optional package is not installed.
        """
        if self.alive():
            return
        try:
            self._prepare()
            self._start_on_some_port(time.monotonic() + timeout_s)
        except OSError as error:
            self._release()
            raise ConfigError(f"{self.title} cannot use {self.data_dir}: {explain(error)}") from error
        except BaseException:
            self._release()
            raise

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop the server cleanly; kill it if it has not ended after ``timeout_s`` seconds. Blocks."""
        process = self.process
        if process is not None and process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._release()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._release()

    # -- for the two servers

    @abstractmethod
    def _binary(self) -> Path:
        """The server's program; ConfigError when its package is missing."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The server's command line."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the server answers."""

    @abstractmethod
    def _read_pid(self) -> int | None:
        """The pid that the server last run in this folder has left behind."""

    def _initialise(self) -> None:
        """Create the files of a new server."""
        self.files.mkdir(exist_ok=True)

    def _account(self) -> pwd.struct_passwd | None:
        """The account to run under, None for our own."""
        return None

    # -- steps

    def _prepare(self) -> None:
        self._binary()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.data_dir / "lock", self.title)
        self._stop_leftover()
        self._initialise()

    def _stop_leftover(self) -> None:
        """Stop a server that its killed parent has left running in our folder (nobody else can: we hold the lock)."""
        pid = self._read_pid()
        if pid is None or not lives_in(pid, self.files):
            return
        for sig, wait_s in ((self.stop_signal, 20.0), (signal.SIGKILL, 10.0)):
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                return
            if wait_until(lambda: not lives_in(pid, self.files), wait_s):
                return
        raise ConfigError(f"{self.title} of an earlier run (process {pid}) still uses {self.files} and does not end; stop it")

    def _start_on_some_port(self, deadline: float) -> None:
        for attempt in range(ATTEMPTS):
            if not self._fixed_port:
                self.port = free_port()
            try:
                self._launch(deadline)
            except PortInUse:
                if self._fixed_port or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def _launch(self, deadline: float) -> None:
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_suffix(".log.old"))
        with self.log_path.open("wb") as log:
            self.process = spawn(self._command(), log, self._account(), self.stop_signal, self.data_dir)
        while not self._ready():
            if not self.alive():
                raise self._failure()
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise ConfigError(f"{self.title} did not become ready in time; see {self.log_path}")
            time.sleep(POLL_SECONDS)

    def _failure(self) -> ConfigError:
        log = self.log_path.read_text(errors="replace")
        if re.search("address already in use", log, re.I):
            return PortInUse(f"port {self.port} on {HOST} is in use, so {self.title} cannot start; free it or set another")
        return ConfigError(f"{self.title} cannot start on {self.data_dir}: {last_complaint(log)}; see {self.log_path}")

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def explain(error: OSError) -> str:
    """A system error in one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no disk space left; free some"
    return f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def last_complaint(log: str) -> str:
    """The line of a server's log that says why it ended."""
    if "No space left on device" in log:
        return "no disk space left; free some"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        found = re.search(r"(?:FATAL|PANIC|error|Bad file format|Fatal)\b.*", line)
        if found:
            return found.group()[:300]
    return lines[-1][:300] if lines else "it ended without a message"


def lock_folder(path: Path, title: str) -> IO[bytes]:
    """Take the folder's lock; held until the file is closed or this process ends.

    A POSIX record lock, because forked children do not inherit it and so cannot hold it after our death.
    """
    lock = path.open("ab")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(f"{title} data folder {path.parent} is in use by another running DTQ; stop it or set another DATADIR") from None
    return lock


def lives_in(pid: int, folder: Path) -> bool:
    """Whether process ``pid`` runs with ``folder`` as its working directory, as both servers do with their files."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", folder)
    except OSError:
        pass
    if Path("/proc/self").exists():
        return False
    command = ["ps", "-o", "command=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no user input
    return str(folder) in found.stdout


def residents(folder: Path) -> list[int]:
    """Processes with ``folder`` as their working directory, as far as we may see; Linux only, elsewhere none."""
    return (
        [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if lives_in(int(entry.name), folder)]
        if Path("/proc/self").exists()
        else []
    )


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def spawn(
    command: Sequence[str], log: IO[bytes], account: pwd.struct_passwd | None, death_signal: signal.Signals, cwd: Path
) -> subprocess.Popen[bytes]:
    """Run a server as a direct child, in a session of its own so that Ctrl-C on the terminal does not reach it."""
    return subprocess.Popen(  # noqa: S603 - our own command
        tied(command, death_signal, account), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=cwd
    )


def tied(command: Sequence[str], death_signal: signal.Signals, account: pwd.struct_passwd | None = None) -> list[str]:
    """The command line that runs ``command`` (a path first) as a child which the kernel sends ``death_signal`` when we die.

    Only so on Linux and when started by the main thread: the kernel watches the *thread* that starts the child.
    """
    ties = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
    uid, gid = (account.pw_uid, account.pw_gid) if account else (-1, -1)
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, *map(str, (uid, gid, os.getpid(), int(death_signal) if ties else 0)), *command]
