"""What people see of ``dtq up``: few, short lines. Everything else is in the log files."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable

__all__ = ["Say", "notable", "say"]

Say = Callable[[str], None]

MAX_LINE = 300
_HIDDEN = frozenset({"event", "level", "timestamp", "service", "logger", "exception"})


def say(text: str) -> None:
    """Show a line. A terminal that went away does not stop the queue."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stdout, flush=True)  # noqa: T201 - a program's output


def notable(name: str, line: bytes, *, raw: bool) -> str | None:
    """What to show of a log line of child ``name``: warnings and errors, shortened unless ``raw``; None: nothing."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or entry.get("level") not in ("warning", "error", "critical"):
        return None
    if raw:
        return line.decode(errors="replace").rstrip()
    fields = [f"{key}={value}" for key, value in entry.items() if key not in _HIDDEN]
    if isinstance(entry.get("exception"), str):
        fields.append(entry["exception"].strip().rpartition("\n")[2])
    text = " ".join([f"{name}: {entry['level']}: {entry.get('event', '')}", *fields]).replace("\n", " ")
    return text if len(text) <= MAX_LINE else text[:MAX_LINE] + "…"
