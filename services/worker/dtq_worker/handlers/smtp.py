"""Hands a message to an SMTP server, and decides what its replies mean for the job."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

import aiosmtplib

from dtq.config import Settings, parse_addr
from dtq.errors import Permanent, Retry

__all__ = ["Delivery", "Refusal", "connection", "deliver"]

STEP_TIMEOUT = 10.0
"""Seconds to wait for one reply of the server."""

BATCH = 100
"""Recipients of one transaction: what every server must take (RFC 5321, 4.5.3.1.8)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's no: SMTP reply ``code`` and its text. 4xx is meant for now, 5xx for good (RFC 5321, 4.2.1)."""

    code: int
    message: str

    @property
    def temporary(self) -> bool:
        """Whether trying again makes sense."""
        return 400 <= self.code < 500

    def __str__(self) -> str:
        return f"{self.code} {self.message}".strip()


@dataclass(slots=True)
class Delivery:
    """What became of each recipient."""

    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def connection(settings: Settings) -> AsyncIterator[aiosmtplib.SMTP]:
    """A connected, encrypted and logged-in client, as the settings say.

    Raises:
        Retry: no connection, or the server says 4xx.
        Permanent: it refuses the login or cannot do what is set.
    """
    host, port = parse_addr(settings.smtpaddr)
    client = aiosmtplib.SMTP(
        hostname=host,
        port=port,
        username=settings.smtpuser or None,
        password=settings.smtppassword or None,
        use_tls=settings.smtptls == "tls",
        start_tls=settings.smtptls == "starttls",
        local_hostname=socket.gethostname(),  # the default would ask DNS
        timeout=STEP_TIMEOUT,
    )
    with _translated(f"SMTP server {settings.smtpaddr}"):
        await client.connect()
        await _greet(client)
    try:
        yield client
        with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):  # all is said; a rude goodbye changes nothing
            await client.quit()
    finally:
        client.close()


async def _greet(client: aiosmtplib.SMTP) -> None:
    """Learn what the server can do, unless logging in or starting TLS has done so."""
    if client.is_ehlo_or_helo_needed:
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError:  # a server from before 1995
            await client.helo()


@contextlib.contextmanager
def _translated(server: str) -> Iterator[None]:
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        raise _signal(server, Refusal(error.code, error.message)) from None
    except (OSError, TimeoutError) as error:  # also aiosmtplib's own: it lost or never had the connection
        raise Retry(f"{server}: {error or type(error).__name__}") from error
    except aiosmtplib.SMTPException as error:  # the server cannot do what is set, such as STARTTLS
        raise Permanent(f"{server}: {error.message}") from None


def _signal(server: str, refusal: Refusal) -> Retry | Permanent:
    # A code outside 4xx and 5xx is a server out of step; the next conversation may go better.
    return Permanent(f"{server}: {refusal}") if 500 <= refusal.code < 600 else Retry(f"{server}: {refusal}")


async def deliver(
    client: aiosmtplib.SMTP, sender: str, recipients: Sequence[str], message: bytes, *, utf8: bool, may_postpone: bool
) -> Delivery:
    """Send one message to all recipients, and never twice to the same.

    A recipient refused for now postpones the message for all as long as nobody has got it and ``may_postpone``. Once
    somebody has, the rest is reported instead: running the job again would send that one a second copy.

    Raises:
        Retry: nobody got it, and trying again makes sense.
        Permanent: nobody got it, and trying again does not.
    """
    delivery = Delivery()
    server = f"SMTP server {client.hostname}:{client.port}"
    for batch in _batches(recipients):
        try:
            with _translated(server):
                await _transaction(client, sender, batch, message, delivery, utf8=utf8, may_postpone=may_postpone)
        except (Retry, Permanent) as signal:
            if not delivery.accepted:
                raise
            code = 450 if isinstance(signal, Retry) else 550
            for recipient in batch:
                delivery.refused.setdefault(recipient, Refusal(code, str(signal)))
    if not delivery.accepted:
        raise _all_refused(delivery)
    return delivery


def _batches(items: Sequence[str]) -> list[Sequence[str]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


async def _transaction(
    client: aiosmtplib.SMTP, sender: str, batch: Sequence[str], message: bytes, delivery: Delivery, *, utf8: bool, may_postpone: bool
) -> None:
    options = [f"SIZE={len(message)}"] if client.supports_extension("size") else []
    if utf8:
        if not client.supports_extension("smtputf8"):
            raise Permanent("the SMTP server does not take addresses with letters beyond ASCII (SMTPUTF8)")
        options.append("SMTPUTF8")
    encoding = "utf-8" if utf8 else "ascii"
    await client.mail(sender, options=options, encoding=encoding)
    accepted: list[str] = []
    for recipient in batch:
        try:
            await client.rcpt(recipient, encoding=encoding)
        except aiosmtplib.SMTPRecipientRefused as error:
            delivery.refused[recipient] = Refusal(error.code, error.message)
        else:
            accepted.append(recipient)
    postponed = may_postpone and not delivery.accepted and any(refusal.temporary for refusal in delivery.refused.values())
    if postponed or not accepted:
        await client.rset()
    if postponed:
        raise Retry(_list_refused("nothing was sent yet, because recipients are refused for now", delivery))
    if accepted:
        await client.data(message)
        delivery.accepted += accepted


def _all_refused(delivery: Delivery) -> Retry | Permanent:
    text = _list_refused("every recipient was refused", delivery)
    return Retry(text) if any(refusal.temporary for refusal in delivery.refused.values()) else Permanent(text)


def _list_refused(reason: str, delivery: Delivery) -> str:
    listed = [f"{recipient}: {refusal}" for recipient, refusal in delivery.refused.items()]
    more = f"; and {len(listed) - 5} more" if len(listed) > 5 else ""
    return f"{reason}: {'; '.join(listed[:5])}{more}"
