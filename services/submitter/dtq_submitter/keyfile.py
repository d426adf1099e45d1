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
_Stamp = tuple[int, int, int]
_FAULTS = (ConfigError, OSError, UnicodeDecodeError)


class KeyFile:
    """The keys of a file.

    A key that is no longer there is withdrawn, the last one too, and with a file that was deleted all of them. Only when the
    file cannot be read, or a line of it is wrong, the keys read before stay, and that is logged.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be used, or holds no key.
        """
        self._path = Path(path)
        self._clock = clock
        self._checked = clock()
        try:
            self._stamp: _Stamp | None = self._look()
            self._keys = self._read()
        except ConfigError:
            raise
        except _FAULTS as error:
            raise ConfigError(f"APIKEYSFILE={str(path)!r}: {_reason(error)}") from None
        if not self._keys:
            raise ConfigError(f"APIKEYSFILE={str(path)!r} holds no key; add one with `dtq apikey`")

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
            stamp, keys = self._changed()
        except _FAULTS as error:
            _log.error("api_keys_not_reloaded", file=str(self._path), error=_reason(error))
            return
        if stamp == self._stamp:
            return
        self._stamp, self._keys = stamp, keys
        _log.info("api_keys_reloaded", file=str(self._path), keys=len(keys))

    def _changed(self) -> tuple[_Stamp | None, list[ApiKey]]:
        """The file's stamp and keys; a deleted file has none."""
        try:
            stamp = self._look()
            return stamp, self._keys if stamp == self._stamp else self._read()
        except FileNotFoundError:
            return None, []

    def _look(self) -> _Stamp:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> list[ApiKey]:
        return parse_keys(self._path.read_text("utf-8"), f"APIKEYSFILE={str(self._path)!r}")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
