"""A service that is told to stop while it still loads its modules."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return bool(int(found[1], 16) & 1 << (number - 1))


@pytest.mark.parametrize("service", ["submitter", "worker", "scheduler", "operator"])
def test_sigterm_is_handled_before_modules_are_loaded(service: str, tmp_path: Path) -> None:
    """Without a handler it would end too, but not as process 1 of a container, where a signal without a handler is ignored."""
    (tmp_path / "structlog.py").write_text("import time\ntime.sleep(60)\n")  # every service needs it, and never has done with loading it
    with subprocess.Popen([sys.executable, "-m", f"dtq_{service}"], env={**os.environ, "PYTHONPATH": str(tmp_path)}) as process:
        deadline = time.monotonic() + 30
        while not catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
            assert time.monotonic() < deadline, "no handler for SIGTERM within 30 s"
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
