"""A transport that sends the head and the body of an answer together.

uvicorn writes them one after the other, and each write is a system call and, as Nagle's algorithm is off, a packet that
wakes the client: of a request's whole cost in the submitter they were the largest part (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["JoinedWrites"]

LARGE = 64 * 1024
"""Bytes that are held at most: the client's pace is to be felt by an answer of any size."""


class JoinedWrites(asyncio.Transport):
    """Holds what is written until ``flush`` or the end of the loop's turn, then writes it at once to ``transport``."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0
        self._ended = False  # no more may be written

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send, in this turn of the loop; what comes after ``write_eof`` is dropped."""
        if self._ended:
            return
        if len(data) >= LARGE:  # not worth a copy
            self.flush()
            self._transport.write(data)
            return
        if not self._held:
            self._loop.call_soon(self.flush)  # for an answer that comes in pieces
        self._held.append(bytes(data))
        self._size += len(data)
        if self._size >= LARGE:
            self.flush()

    def flush(self) -> None:
        """Send what is held now."""
        if self._held:
            held, self._held, self._size = self._held, [], 0
            if not self._transport.is_closing():
                self._transport.write(b"".join(held))

    def close(self) -> None:
        """Send what is held, then close."""
        self.flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Send what is held, then close this direction."""
        self.flush()
        self._ended = True
        self._transport.write_eof()

    def abort(self) -> None:
        """Close at once; what is held is lost."""
        self._held, self._size = [], 0
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._size + self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def can_write_eof(self) -> bool:
        """Whether one direction can be closed."""
        return self._transport.can_write_eof()

    def pause_reading(self) -> None:
        """Take nothing from the client until it is resumed."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on after ``pause_reading``."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio knows of the connection."""
        return self._transport.get_extra_info(name, default)
