"""How often a worker looks for reference cycles."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import gc
from dtq import garbage
started = gc.get_threshold()
garbage.settle()
assert gc.isenabled() and gc.get_threshold() == (garbage.THRESHOLD, *started[1:]), gc.get_threshold()
assert gc.get_freeze_count() > 1000
looked = sum(generation["collections"] for generation in gc.get_stats())
kept = [[] for _ in range(garbage.THRESHOLD // 2)]
assert sum(generation["collections"] for generation in gc.get_stats()) == looked
kept += [[] for _ in range(garbage.THRESHOLD)]
assert sum(generation["collections"] for generation in gc.get_stats()) > looked
"""


def test_a_settled_process_looks_seldom() -> None:
    """In a process of its own: it holds for the whole process."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
