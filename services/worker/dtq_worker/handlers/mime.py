"""Builds the message of an email job."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any

from dtq.jobs.addresses import Mailbox, parse_address
from dtq.jobs.email import Attachment, Email

__all__ = ["build_message", "envelope", "message_id", "needs_utf8"]

LINE = 78
"""Characters of a header line that is folded (RFC 5322, 2.1.1)."""

_STRUCTURED = frozenset({"from", "to", "cc", "reply-to", "date", "mime-version"})


class _Policy(EmailPolicy):
    """The standard policy, except that an ASCII header with a long word stays ASCII.

    The standard one turns such a word into encoded ones, which no reader of Message-ID or List-Unsubscribe understands.
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
        text = str(value)
        lowered = name.lower()
        if lowered in _STRUCTURED or lowered.startswith("content-") or not text.isascii() or len(name) + len(text) + 2 <= LINE:
            return super().fold_binary(name, value)
        lines = [f"{name}:"]
        for word in text.split():
            if len(lines[-1]) + 1 + len(word) > LINE and lines[-1] != f"{name}:":
                lines.append("")
            lines[-1] += f" {word}"
        return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def envelope(payload: Email) -> list[Mailbox]:
    """Everyone who gets the message, once, in order of appearance."""
    found: dict[tuple[str, str], Mailbox] = {}
    for text in (*payload.to, *payload.cc, *payload.bcc):
        mailbox = parse_address(text)
        found.setdefault((mailbox.local, mailbox.domain.lower()), mailbox)
    return list(found.values())


def needs_utf8(mailboxes: Iterable[Mailbox]) -> bool:
    """Whether an address can only be written in UTF-8 (RFC 6531); display names and domains can be encoded."""
    return any(not mailbox.local.isascii() for mailbox in mailboxes)


def message_id(job_id: str, sender: Mailbox) -> str:
    """The Message-ID: the same for every attempt, so that a mailbox can tell a repeated delivery."""
    return f"<{job_id}@{sender.domain.lower()}>"


def _addresses(texts: Sequence[str]) -> list[Address]:
    boxes = [parse_address(text) for text in texts]
    return [Address(display_name=box.name, username=box.local, domain=box.domain) for box in boxes]


def build_message(payload: Email, contents: Sequence[bytes], sender: Mailbox, job_id: str, *, utf8: bool) -> bytes:
    """The message as SMTP sends it: CRLF line ends, 7-bit unless ``utf8``. ``contents`` are the attachments' bytes."""
    message = EmailMessage(policy=_Policy(linesep="\r\n", cte_type="7bit", utf8=utf8, max_line_length=LINE))
    message["From"] = Address(display_name=sender.name, username=sender.local, domain=sender.domain)
    for name, texts in (("To", payload.to), ("Cc", payload.cc), ("Reply-To", payload.reply_to)):
        if texts:
            message[name] = _addresses(texts)
    if not payload.to and not payload.cc:
        message["To"] = "undisclosed-recipients:;"
    message["Subject"] = payload.subject
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = message_id(job_id, sender)
    for name, value in payload.headers.items():
        message[name] = value
    if payload.body is not None:
        message.set_content(payload.body)
        if payload.html is not None:
            message.add_alternative(payload.html, subtype="html")
    else:
        message.set_content(payload.html or "", subtype="html")
    for attachment, content in zip(payload.attachments, contents, strict=True):
        maintype, _, subtype = _content_type(attachment).partition("/")
        message.add_attachment(content, maintype=maintype, subtype=subtype, filename=attachment.filename)
    return message.as_bytes()


def _content_type(attachment: Attachment) -> str:
    guessed, coding = mimetypes.guess_type(attachment.filename)
    found = attachment.content_type or (guessed if coding is None else None) or "application/octet-stream"
    return "application/octet-stream" if found.startswith(("message/", "multipart/")) else found
