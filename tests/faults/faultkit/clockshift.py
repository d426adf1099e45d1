"""A wall clock that is wrong in some processes alone, and can be set while they run.

A few lines of C (clockshift.c) are preloaded, so that every reader of the wall clock is deceived: Python, its extensions, and
the processes that it starts. That needs a C compiler and Linux.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

__all__ = ["ShiftedClock", "can_shift", "compile_shim"]

SOURCE = Path(__file__).with_suffix(".c")


def can_shift() -> bool:
    """Whether this machine has what it takes."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def compile_shim(folder: Path) -> Path:
    """The library to preload, made in ``folder``."""
    library = folder / "clockshift.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)], check=True, capture_output=True)
    return library


class ShiftedClock:
    """One clock, for any number of processes: those started with :attr:`settings` in their environment."""

    def __init__(self, library: Path, file: Path, seconds: float) -> None:
        """Off by ``seconds``; ``file`` holds that."""
        self._file = file
        self.settings = {"LD_PRELOAD": str(library), "CLOCKFILE": str(file)}
        file.write_bytes(bytes(8))
        self.set(seconds)

    def set(self, seconds: float) -> None:
        """From now on it is off by so much."""
        with self._file.open("r+b", buffering=0) as file:  # the same bytes: the processes have them in their memory
            file.write(struct.pack("=q", round(seconds * 1e9)))
