"""The body of every job, the same for each peer.

``hit(i, t)`` appends one record of 24 bytes to the file $BENCH_LOG (in memory): worker number, job number, time of
submission, time of handler start. That is one write of about 1 us a job, safe across threads, forks and processes; the
runner counts completions, sees duplicates and times jobs from it without touching the broker. The clock is
CLOCK_MONOTONIC, one for all processes of the machine and for all languages.
"""

from __future__ import annotations

import os
import struct
import time

RECORD = struct.Struct("<iidd")
NAP = float(os.environ.get("BENCH_NAP_MS", "0")) / 1000
"""Seconds that a handler sleeps after its hit."""

_worker = int(os.environ.get("BENCH_WORKER", "0"))
_fd: int | None = None


def hit(i: int, t: float) -> None:
    global _fd
    now = time.monotonic()
    if _fd is None:
        _fd = os.open(os.environ["BENCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(_fd, RECORD.pack(_worker, i, t, now))
