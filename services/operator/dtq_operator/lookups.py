"""Takes the failures of look-ups of names for which nobody waits any more.

A connection that is given up, because it took too long, leaves uvloop's look-up of the name to itself. When that fails
later, asyncio reports an exception that nobody retrieved. Whoever gave up has said so already.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

__all__ = ["take_failed_lookups"]


def take_failed_lookups(loop: asyncio.AbstractEventLoop) -> None:
    """Do so on this loop; everything else is reported as before."""
    loop.set_exception_handler(_handle)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not (isinstance(context.get("exception"), socket.gaierror) and isinstance(context.get("future"), asyncio.Future)):
        loop.default_exception_handler(context)
