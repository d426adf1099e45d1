"""A run of the fault tests that is told to stop cleans up, whole, and starts nothing any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faultkit import leaving
from faultkit.history import Log
from faultkit.stand import FAULTS, Service, until

RUN = """
import signal, sys, time
from faultkit.leaving import heed_signals
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # who runs the tests may ignore some, as nohup does
    signal.signal(number, signal.SIG_DFL)
heed_signals()
try:
    print("runs", flush=True)
    time.sleep(60)
finally:
    print("cleans up", flush=True)
    sys.stdin.readline()
    print("has cleaned up", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_break_off_the_cleaning_up(number: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": str(FAULTS)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(number)
        assert process.stdout.readline() == "cleans up\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(number)
        out, _ = process.communicate("\n", timeout=30)
    assert out == "has cleaned up\n"
    assert process.returncode == 128 + number


def test_other_threads_end_and_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "_left", threading.Event())
    log = Log(tmp_path, "fault")
    service = Service("worker", "worker-1", {}, tmp_path, log, "127.0.0.1:1")
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(until, "what never comes", lambda: False)
        leaving.leave()
        with pytest.raises(leaving.Leaving):
            waits.result(30)
    with pytest.raises(leaving.Leaving):
        service.start()
    assert service.popen is None
    log.close()
