"""APIKEYSFILE, read again when it changes, so that keys are added and withdrawn without a restart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from dtq.apikeys import ApiKey, find_key, parse_keys
from dtq.errors import ConfigError

__all__ = ["CHECK_SECONDS", "KeyFile"]

CHECK_SECONDS = 1.0
"""How often the file is looked at for a change, at most."""

_log = structlog.get_logger("dtq.submitter")
_FAULTS = (ConfigError, OSError, UnicodeDecodeError)


class KeyFile:
    """The keys of a file. A change that cannot be used is logged, and the keys read before stay."""

    def __init__(self, path: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be used.
        """
        self._path = Path(path)
        self._clock = clock
        self._checked = clock()
        try:
            self._stamp = self._look()
            self._keys = self._read()
        except ConfigError:
            raise
        except _FAULTS as error:
            raise ConfigError(f"APIKEYSFILE={str(path)!r}: {_reason(error)}") from None

    def find(self, presented: str) -> ApiKey | None:
        """Whose key this is, None if nobody's."""
        self._refresh()
        return find_key(self._keys, presented)

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._keys = self._read()
            self._stamp = stamp
        except _FAULTS as error:
            _log.error("api_keys_not_reloaded", file=str(self._path), error=_reason(error))
        else:
            _log.info("api_keys_reloaded", keys=len(self._keys))

    def _look(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> list[ApiKey]:
        return parse_keys(self._path.read_text("utf-8"), f"APIKEYSFILE={str(self._path)!r}")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
