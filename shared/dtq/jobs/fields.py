"""Kinds of fields that several payloads share."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from dtq.blobkey import BlobKey

__all__ = ["Base64", "Payload", "Source", "Url", "decode_base64", "exactly_one", "only_printable"]


class Payload(BaseModel):
    """Base of payload models: a field that no one knows is an error, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


def only_printable(text: str) -> str:
    """The text, if it holds no control character: a line break would start another header.

    Raises:
        ValueError: names the character.
    """
    if text.isprintable():
        return text
    odd = next((char for char in text if ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u2029"), None)
    if odd is not None:
        raise ValueError(f"may not contain line breaks or control characters (found {odd!r})")
    return text


def decode_base64(text: str) -> bytes:
    """The bytes of base64 text, which may be broken into lines.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not base64: {error}") from None


def _check_base64(text: str) -> str:
    if not decode_base64(text):
        raise ValueError("holds no bytes")
    return text


def _check_url(text: str) -> str:
    only_printable(text)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme.lower() not in {"http", "https"} or not host or " " in text:
        raise ValueError("expected an http:// or https:// URL")
    return text


Base64 = Annotated[str, AfterValidator(_check_base64), Field(json_schema_extra={"contentEncoding": "base64"})]
"""A file's content as base64 text."""

Url = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_check_url), Field(json_schema_extra={"format": "uri"})]
"""Where the worker fetches a file: http or https."""


def exactly_one(**values: object) -> str:
    """The name of the one value that is given.

    Raises:
        ValueError: none or several are.
    """
    given = [name for name, value in values.items() if value is not None]
    if len(given) != 1:
        found = "none" if not given else " and ".join(given)
        raise ValueError(f"give exactly one of {', '.join(values)}; found {found}")
    return given[0]


class Source(Payload):
    """Where a file comes from: exactly one of ``url``, ``blob`` and ``base64``."""

    url: Url | None = Field(None, description="Fetched by the worker; private addresses are refused unless FETCHALLOW lets them in.")
    blob: BlobKey | None = Field(None, description="Key in the blob store.")
    base64: Base64 | None = Field(None, description="The content itself.")

    def model_post_init(self, context: object, /) -> None:
        """Check that there is one source."""
        exactly_one(url=self.url, blob=self.blob, base64=self.base64)


def encode_base64(data: bytes) -> str:
    """Bytes as a payload holds them."""
    return base64.b64encode(data).decode()
