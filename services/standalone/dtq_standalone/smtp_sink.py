"""An SMTP server for trying things out: it delivers nothing and keeps every message as a file NAME.eml.

``python -m dtq_standalone.smtp_sink FOLDER HOST:PORT`` runs one; ``dtq up`` starts it so that email jobs can be looked at.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from dtq.config import parse_addr

__all__ = ["SmtpSink"]

MAX_MESSAGE = 128 * 1024 * 1024
"""Bytes of a message; the sink is meant to take whatever a job sends."""


class SmtpSink:
    """A listening sink. ``await start()`` returns its port, ``await stop()`` ends it."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        """Keep messages in ``folder``, made on demand; port 0 takes a free one."""
        self._folder = folder
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._numbers = itertools.count(1)

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the port is taken or the folder cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, self._host, self._port)
        return int(self._server.sockets[0].getsockname()[1])

    def _session(self) -> SMTP:
        # The loop is given because aiosmtpd would else look for one in a way that is deprecated.
        return SMTP(self, data_size_limit=MAX_MESSAGE, enable_SMTPUTF8=True, hostname="dtq-smtp-sink", loop=asyncio.get_running_loop())

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep one message. The envelope is written above it, since Bcc recipients stand nowhere else."""
        content = envelope.original_content or b""
        head = [f"X-MailFrom: {envelope.mail_from}", *(f"X-RcptTo: {recipient}" for recipient in envelope.rcpt_tos)]
        data = "".join(f"{line}\r\n" for line in head).encode("utf-8", "surrogateescape") + content
        try:
            name = await asyncio.to_thread(self._keep, data)
        except OSError as error:
            return f"452 cannot keep the message: {error.strerror or type(error).__name__}"
        return f"250 kept as {name}"

    def _keep(self, data: bytes) -> str:
        """Write under another name first: whoever watches for *.eml never reads half a message."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        name = f"{moment}-{os.getpid()}-{next(self._numbers)}.eml"
        partial = self._folder / f".{name}.partial"
        partial.write_bytes(data)
        partial.replace(self._folder / name)
        return name


async def _run(folder: Path, addr: str) -> None:
    host, port = parse_addr(addr)
    sink = SmtpSink(folder, host, port)
    await sink.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await sink.stop()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2]))
