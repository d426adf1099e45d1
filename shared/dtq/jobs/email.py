"""The job type ``email``: send one message by SMTP."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from dtq.blobkey import BlobKey
from dtq.jobs.addresses import Address, Recipients
from dtq.jobs.fields import Base64, Payload, exactly_one, only_printable
from dtq.registry import JobType

__all__ = ["EMAIL", "Attachment", "Email"]

_HEADER_NAME = re.compile(r"[!-9;-~]{1,70}", re.ASCII)  # RFC 5322, 3.6.8
_OURS = frozenset(
    "from sender to cc bcc subject date message-id reply-to mime-version return-path received dkim-signature".split()  # noqa: SIM905
)


def _check_filename(name: str) -> str:
    only_printable(name)
    if "/" in name or "\\" in name or name in {".", ".."}:
        raise ValueError("expected a file name without a folder")
    return name


def _check_content_type(value: str) -> str:
    if value.lower().startswith(("multipart/", "message/")):
        raise ValueError("multipart and message types cannot be attached as they are; use application/octet-stream")
    return value


def _check_header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("a header name has visible ASCII characters and no colon")
    if name.lower() in _OURS or name.lower().startswith("content-"):
        raise ValueError("this header is set by DTQ; use the payload's own field, if there is one")
    return name


Line = Annotated[str, AfterValidator(only_printable)]
ContentType = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,100}$"), AfterValidator(_check_content_type)
]
HeaderName = Annotated[str, AfterValidator(_check_header_name)]


class Attachment(Payload):
    """A file sent along: exactly one of ``content_base64`` and ``blob``."""

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_check_filename)]
    content_type: ContentType | None = Field(None, description="Guessed from the file name when left out.", examples=["application/pdf"])
    content_base64: Base64 | None = None
    blob: BlobKey | None = Field(None, description="Key in the blob store.")

    def model_post_init(self, context: object, /) -> None:
        """Check that there is one content."""
        exactly_one(content_base64=self.content_base64, blob=self.blob)


class Email(Payload):
    """A message and its recipients. No text of it can start another header: line breaks are refused everywhere but in bodies."""

    cc: Recipients = Field(default_factory=list, validate_default=False)
    bcc: Recipients = Field(default_factory=list, description="Recipients that the others do not see.")
    to: Recipients = Field(default_factory=list, validate_default=True, description="One address or a list of them.")
    subject: Annotated[Line, StringConstraints(max_length=2000)] = ""
    html: str | None = Field(None, description="The message as HTML.")
    body: str | None = Field(None, validate_default=True, description="The message as plain text; with html, the alternative to it.")
    from_: Address | None = Field(None, alias="from", description="Sender; SMTPFROM when left out.")
    reply_to: Recipients = Field(default_factory=list)
    attachments: list[Attachment] = Field(default_factory=list, max_length=100)
    headers: dict[HeaderName, Annotated[Line, StringConstraints(max_length=900)]] = Field(
        default_factory=dict, max_length=50, description="Further headers, such as List-Unsubscribe."
    )

    @field_validator("to")
    @classmethod
    def _has_recipient(cls, value: list[str], info: ValidationInfo) -> list[str]:
        others = [info.data.get(name, ["unknown: has an error of its own"]) for name in ("cc", "bcc")]
        if not value and not any(others):
            raise ValueError("give at least one recipient in to, cc or bcc")
        return value

    @field_validator("body")
    @classmethod
    def _has_content(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("html", "unknown: has an error of its own") is None:
            raise ValueError("give body (plain text), html or both")
        return value


EMAIL = JobType(
    name="email",
    payload=Email,
    summary="Send an email: text and HTML, attachments, cc and bcc.",
    timeout=30,
    examples=(
        {"to": "user@example.com", "subject": "Test Email", "body": "This is a test email."},
        {
            "to": ["Jane Doe <jane@example.com>"],
            "cc": ["team@example.com"],
            "subject": "Your report",
            "body": "Hello Jane, the report is attached.",
            "html": "<p>Hello Jane, the report is attached.</p>",
            "reply_to": "reports@example.com",
            "attachments": [{"filename": "report.csv", "content_base64": "YSxiCjEsMgo="}],
        },
    ),
)
