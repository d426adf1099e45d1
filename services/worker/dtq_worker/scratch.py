"""Private temporary folders of workers and handlers. One that is killed cannot clean up; a later one does it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["new_folder", "scratch_folder"]

_NAME = re.compile(r"dtq-scratch-(\d+)-.+", re.ASCII)


def new_folder(base: Path | None = None) -> Path:
    """A new folder that only this account can read; the caller removes it.

    The name holds the process id, so that folders of processes that are gone can be told and are removed before.
    """
    root = base or Path(tempfile.gettempdir())
    _sweep(root)
    return Path(tempfile.mkdtemp(prefix=f"dtq-scratch-{os.getpid()}-", dir=root))


@contextlib.contextmanager
def scratch_folder(base: Path | None = None) -> Iterator[Path]:
    """A new folder (see :func:`new_folder`), removed at the end with all that is in it."""
    folder = new_folder(base)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    for entry in os.scandir(root):
        match = _NAME.fullmatch(entry.name)
        with contextlib.suppress(OSError):  # another process swept it first
            if match and entry.is_dir(follow_symlinks=False) and entry.stat().st_uid == os.getuid() and not _alive(int(match[1])):
                shutil.rmtree(entry.path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
