"""Reads request bodies: bounded in size, and only of kinds that hold JSON. Bounds in time are those of connections (protocol.py)."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive

from dtq_submitter.problems import Problem, ProblemError

__all__ = ["BodyHeaders", "Disconnected", "read_body"]


class Disconnected(Exception):
    """The client has gone; there is nobody to answer."""


class BodyHeaders:
    """What the headers say of the body, read in one pass over them."""

    __slots__ = ("browser", "encoding", "idempotency_key", "kind", "length")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.kind = b""
        self.length: bytes | None = None
        self.encoding = b""
        self.browser = False
        self.idempotency_key: str | None = None
        for name, value in headers:
            if name == b"content-type":
                self.kind = value
            elif name == b"content-length":
                self.length = value
            elif name == b"idempotency-key":
                self.idempotency_key = value.decode("latin-1")
            elif name == b"content-encoding":
                self.encoding = value
            elif name in (b"origin", b"sec-fetch-site"):
                self.browser = True

    def check(self, limit: int) -> None:
        """Refuse what need not be read.

        Raises:
            ProblemError: 413 or 415.
        """
        if self.length is not None and self.length.isdigit() and int(self.length) > limit:
            raise _too_large(limit)
        if self.kind != b"application/json":
            self._check_kind()
        if self.encoding and self.encoding.lower() != b"identity":
            raise ProblemError(Problem(415, "unsupported-encoding", "send the body as it is, without a Content-Encoding"))

    def _check_kind(self) -> None:
        """Without a type, or with those that curl sends by itself, a body is taken for JSON.

        Not from a browser: a foreign web page can send those kinds, and only those, without asking.
        """
        kind = self.kind.partition(b";")[0].strip().lower()
        if kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json")):
            return
        if kind in (b"", b"application/x-www-form-urlencoded", b"text/plain") and not self.browser:
            return
        raise ProblemError(Problem(415, "unsupported-media-type", "send JSON with Content-Type: application/json"))


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        ProblemError: it is larger than ``limit``.
        Disconnected: the client went away, or was too slow.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    return await _rest(receive, body, limit)


async def _rest(receive: Receive, first: bytes, limit: int) -> bytes:
    parts, size, more = [first], len(first), True
    while more:
        if size > limit:
            raise _too_large(limit)
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> ProblemError:
    # The connection is closed: what is left of the body need not be read.
    detail = f"the body is larger than {limit} bytes (MAXBODYBYTES); put large inputs into the blob store"
    return ProblemError(Problem(413, "too-large", detail, headers={"Connection": "close"}))
