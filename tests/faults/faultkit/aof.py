"""Valkey's append-only files, as a crash of the machine would leave them.

SIGKILL alone loses nothing of what Valkey wrote: it lies in the system's page cache. What a machine loses when its power fails is
what was written and not yet synced. With ``appendfsync everysec`` that is the end of the newest file, from at most a second
(two, when the disk is slow) before the crash on. So a :class:`SizeLog` notes how long that file was at which moment, and
after a SIGKILL :func:`cut` shortens it to what it was some time before: exactly what such a machine would come up with had
its last fsync been at that moment. Anything in the file by then may be cut anywhere, also within a command.

The replies to what is cut had been sent, so this is a loss that everysec allows; with ``always`` only what was never
acknowledged may be cut, which :func:`torn_copy` makes: the first bytes of one more write.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Size", "SizeLog", "before", "cut", "newest", "torn_copy"]


class Size(NamedTuple):
    """``file`` had ``size`` bytes at ``at`` (monotonic ns), or some more: the moment was noted before the size."""

    at: int
    file: Path
    size: int


def newest(files: Path) -> Path:
    """The file that a Valkey with its data in ``files`` appends to: the last one that its manifest names."""
    folder = files / "appendonlydir"
    manifest = (folder / "appendonly.aof.manifest").read_text().splitlines()
    names = [line.split()[1] for line in manifest if line.endswith("type i")]
    return folder / names[-1]


class SizeLog:
    """Notes the size of the newest append-only file every few milliseconds, until closed."""

    def __init__(self, files: Path, pause: float = 0.002) -> None:
        """Start; ``files`` is the folder of Valkey's data."""
        self._files = files
        self._pause = pause
        self._sizes: list[Size] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _go(self) -> None:
        while not self._stop.is_set():
            at = time.monotonic_ns()
            try:
                file = newest(self._files)
                self._sizes.append(Size(at, file, file.stat().st_size))
            except (OSError, IndexError):
                pass  # between two files of a rewrite
            time.sleep(self._pause)

    def close(self) -> list[Size]:
        """Stop; all that was noted."""
        self._stop.set()
        self._thread.join()
        return self._sizes


def before(sizes: list[Size], moment: int) -> Size:
    """The last of the sizes that was noted at ``moment`` or earlier, of the file that is the newest at the end."""
    return next(size for size in reversed(sizes) if size.at <= moment and size.file == sizes[-1].file)


def cut(file: Path, size: int) -> int:
    """Shorten ``file`` to ``size`` bytes; how many went."""
    lost = file.stat().st_size - size
    with file.open("r+b") as opened:
        opened.truncate(size)
    return lost


def torn_copy(content: bytes, share: float) -> bytes:
    """The first ``share`` (0 to 1) of the last whole transaction in ``content``: a write that the crash cut off."""
    last = content.rfind(b"*1\r\n$5\r\nMULTI\r\n")
    end = content.find(b"*1\r\n$4\r\nEXEC\r\n", last)
    if last < 0 or end < 0:
        raise ValueError("the file holds no whole transaction")
    whole = content[last : end + len(b"*1\r\n$4\r\nEXEC\r\n")]
    return whole[: max(1, min(len(whole) - 1, int(len(whole) * share)))]
