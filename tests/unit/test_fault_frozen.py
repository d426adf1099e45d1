"""Processes of the fault tests stand still, with their children, and go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from faultkit.frozen import family, frozen, is_frozen
from faultkit.history import Log, read_history

PROGRAM = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"


def test_a_family_stands_still_and_goes_on(tmp_path: Path) -> None:
    log = Log(tmp_path, "fault")
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"  # the child runs its program: until then its parent waits for it and does not stop
        pids = family(process.pid)
        assert len(pids) == 2
        with frozen(log, "it", pids):
            assert all(is_frozen(pid) for pid in pids)
            assert process.poll() is None
        assert not any(is_frozen(pid) for pid in pids)
        process.communicate(b"\n", timeout=30)
    assert process.returncode == 0
    assert [(event.text, event.target, event.pid) for event in read_history(tmp_path)] == [
        ("SIGSTOP", "it", pids[0]),
        ("SIGCONT", "it", pids[0]),
    ]
