"""What runs at the moment: one Running per job, and the log lines its handler writes."""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Callable

import msgspec

from dtq.queue.claims import ClaimedJob

__all__ = ["LogCapture", "Running", "current"]

MAX_LOG_LINES = 200
"""Log lines kept of one attempt; more are counted, not kept."""

MAX_LOG_CHARS = 2000
"""Characters kept of one log line."""


class Running(msgspec.Struct, eq=False):
    """A job in a slot. ``interrupt`` ends its handler early; ``reason`` says why it was called.

    ``claimed_at`` and ``deadline`` are monotonic times, ``timeout`` is in seconds.
    """

    job: ClaimedJob
    claimed_at: float
    timeout: float
    deadline: float | None = None
    started_ms: int = 0
    logs: list[str] = []
    dropped: int = 0
    output: str | None = None
    reason: str | None = None
    interrupt: Callable[[], object] | None = None

    def stop(self, reason: str) -> None:
        """End the handler early because of ``reason``: timeout, cancelled, shutdown or lost. The first reason stands."""
        if self.reason is None:
            self.reason = reason
        if self.interrupt is not None:
            self.interrupt()

    def is_stopped(self) -> bool:
        """Whether :meth:`stop` was called; that can happen during any await."""
        return self.reason is not None

    def add_log(self, line: str) -> None:
        """Keep a line of the attempt's log."""
        if len(self.logs) < MAX_LOG_LINES:
            text = line[:MAX_LOG_CHARS]
            self.logs.append(text if text.isascii() else text.encode("utf-8", "replace").decode())  # no lone surrogates
        else:
            self.dropped += 1

    def log_lines(self) -> list[str]:
        """The attempt's log, with a note on what was left out."""
        return [*self.logs, f"... {self.dropped} more lines"] if self.dropped else self.logs


class Seat:
    """Where a runner task notes which job it is at, so that log lines find it."""

    __slots__ = ("running",)

    def __init__(self) -> None:
        self.running: Running | None = None


current: contextvars.ContextVar[Seat] = contextvars.ContextVar("dtq_seat")


class LogCapture(logging.Handler):
    """Copies what handlers log into their attempt."""

    def emit(self, record: logging.LogRecord) -> None:
        """Add the line to the attempt that is running in this context, if any."""
        seat = current.get(None)
        if seat is None or seat.running is None or record.name == "dtq" or record.name.startswith("dtq."):
            return  # what DTQ itself says about the job is not the handler's log
        try:
            stamp = time.strftime("%H:%M:%S", time.gmtime(record.created))
            seat.running.add_log(f"{stamp} {record.levelname} {record.name}: {record.getMessage()}")
        except Exception:  # noqa: BLE001 - as in every logging.Handler, a bad log call must not fail its caller
            self.handleError(record)
