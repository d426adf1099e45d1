"""Processes that stand still for a while."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from faultkit.history import Log
from faultkit.stand import until

__all__ = ["family", "frozen", "is_frozen"]


def _stat(pid: int) -> tuple[str, int] | None:
    """State and parent of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)


def family(pid: int) -> list[int]:
    """A process and all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if found := _stat(int(entry.name)):
            children.setdefault(found[1], []).append(int(entry.name))
    every = [pid]
    for known in every:
        every += children.get(known, [])
    return every


def is_frozen(pid: int) -> bool:
    """Whether it is stopped, or gone."""
    found = _stat(pid)
    return found is None or found[0] in "TZX"


@contextlib.contextmanager
def frozen(log: Log, target: str, pids: Sequence[int]) -> Iterator[None]:
    """Stop these processes for the time of the block."""
    log.note("fault", text="SIGSTOP", target=target, pid=pids[0])
    for pid in pids:
        _send(pid, signal.SIGSTOP)
    try:
        until(f"{target} stands still", lambda: all(is_frozen(pid) for pid in pids))
        yield
    finally:
        log.note("fault", text="SIGCONT", target=target, pid=pids[0])
        for pid in reversed(pids):
            _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
