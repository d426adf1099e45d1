"""The data folder, and the lock that lets only one DTQ use it."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from dtq.embedded.process import explain
from dtq.errors import ConfigError

__all__ = ["DataFolder"]

NEEDED_BYTES = 256 * 1024 * 1024
"""Free space without which we do not start: a new PostgreSQL takes 40 MB and its log grows in pieces of 16 MB."""


class DataFolder:
    """``DATADIR``: valkey/ and postgres/ (each server's own), blobs/, mail/, logs/, ``ports.json``, ``env`` and ``lock``."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.logs = self.path / "logs"
        self.mail = self.path / "mail"
        self.blobs = self.path / "blobs"
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folder and take its lock, which ends with ``close`` or with this process.

        Raises:
            ConfigError: it cannot be made or written, the disk is full, or another DTQ uses it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            for folder in (self.logs, self.mail, self.blobs):
                folder.mkdir(exist_ok=True)
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise ConfigError(f"DATADIR={self.path}: {explain(error)}") from error
        if free < NEEDED_BYTES:
            raise ConfigError(
                f"DATADIR={self.path}: only {free >> 20} MB of disk space are free and {NEEDED_BYTES >> 20} are needed; "
                "free some or set another DATADIR"
            )

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_env(self, variables: dict[str, str]) -> Path:
        """Keep the servers' addresses, with passwords, in a file that a shell can read; only its owner may."""
        path = self.path / "env"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{name}='{value}'\n" for name, value in variables.items())
        return path

    def _take_lock(self) -> None:
        """Python does not pass the descriptor on to children, so the lock never outlives us."""
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 20).decode(errors="replace").strip()
            self.close()
            by = f" (process {holder})" if holder else ""
            raise ConfigError(f"DTQ is already running on {self.path}{by}; stop it or set another DATADIR") from None
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
