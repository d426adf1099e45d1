"""Processes of the fault tests stand still, with their children, and go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from faultkit.frozen import family, frozen, is_frozen
from faultkit.history import Log, read_history
from faultkit.stand import until

PROGRAM = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


def test_a_family_stands_still_and_goes_on(tmp_path: Path) -> None:
    log = Log(tmp_path, "fault")
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE) as process:
        until("it has a child", lambda: len(family(process.pid)) == 2)
        pids = family(process.pid)
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
