"""Fetches a URL that a payload names: over HTTP(S) only, from public addresses only, within limits of size and time.

Every connection, also after a redirect, resolves the host here, checks the addresses and connects to one that was
checked: a name that resolves differently the next moment (DNS rebinding) gains nothing. Host header and TLS server name
stay those of the URL. Proxies of the environment are not used; they would do the resolving.
"""

from __future__ import annotations

import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpcore
import httpx

from dtq.errors import Permanent, Retry
from dtq_worker.netrules import FetchRules

__all__ = ["fetch_bytes", "fetch_to_file"]

MAX_REDIRECTS = 5
MAX_RETRY_AFTER = 3600.0
"""Seconds; a server that asks for longer is asked again after an hour."""

_RETRIED = {408, 425, 429}
_USER_AGENT = "dtq"


def fetch_bytes(url: str, rules: FetchRules) -> bytes:
    """The content of ``url``.

    Raises:
        Permanent: the address is forbidden, the answer too large or a refusal (4xx).
        Retry: it may work later: no connection, out of time, 5xx, or 408, 425, 429 (``after`` is their Retry-After).
    """
    parts: list[bytes] = []
    _fetch(url, rules, parts.append)
    return b"".join(parts)


def fetch_to_file(url: str, path: Path, rules: FetchRules) -> int:
    """Write the content of ``url`` to a file, and return its size. Raises as :func:`fetch_bytes`."""
    with path.open("wb") as file:
        _fetch(url, rules, file.write)
        return file.tell()


def _fetch(url: str, rules: FetchRules, write: Callable[[bytes], object]) -> None:
    deadline = time.monotonic() + rules.timeout
    transport = _Transport(_Backend(rules, deadline))
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
    client = httpx.Client(
        transport=transport, headers=headers, follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=rules.timeout, trust_env=False
    )
    with _translated(url, rules), client, client.stream("GET", url) as response:
        _check_status(url, response)
        _check_length(url, response, rules.max_bytes)
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > rules.max_bytes:
                raise Permanent(_too_large(url, f"more than {rules.max_bytes}", rules.max_bytes))
            write(chunk)


def _check_status(url: str, response: httpx.Response) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    message = f"{_shown(url)} answered {status} {response.reason_phrase}".rstrip()
    if status >= 500 or status in _RETRIED:
        raise Retry(message, after=_retry_after(response.headers.get("Retry-After")))
    raise Permanent(message)


def _check_length(url: str, response: httpx.Response, max_bytes: int) -> None:
    """Refuse at once what announces to be too large; what lies about it is cut off later."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise Permanent(_too_large(url, length, max_bytes))


def _too_large(url: str, size: str, limit: int) -> str:
    return f"{_shown(url)} has {size} bytes, {limit} are allowed (FETCHMAXBYTES)"


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3): a number or a date."""
    if value is None:
        return None
    value = value.strip()
    if value.isdecimal():
        return min(float(value[:9]), MAX_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, moment - time.time()), MAX_RETRY_AFTER)


def _shown(url: str) -> str:
    """The URL without user, password and query, which may hold secrets."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return url[:200]
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.scheme}://{host}{port}{parsed.path}"[:200]


class _Forbidden(Exception):
    """The rules refuse the address."""


@contextmanager
def _translated(url: str, rules: FetchRules) -> Iterator[None]:
    try:
        yield
    except _Forbidden as error:
        raise Permanent(f"cannot fetch {_shown(url)}: {error}") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpcore.UnsupportedProtocol) as error:
        raise Permanent(f"cannot fetch {_shown(url)}: only http and https are allowed, also in redirects ({error})") from None
    except httpx.TooManyRedirects:
        raise Permanent(f"{_shown(url)} leads to more than {MAX_REDIRECTS} redirects") from None
    except httpx.DecodingError as error:
        raise Permanent(f"{_shown(url)} sent a damaged answer: {error}") from error
    except (httpx.TimeoutException, httpcore.TimeoutException):
        raise Retry(f"{_shown(url)} did not answer within {rules.timeout:g} s (FETCHTIMEOUT)") from None
    except (httpx.TransportError, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Retry(f"cannot fetch {_shown(url)}: {error or type(error).__name__}") from error


class _Stream(httpcore.NetworkStream):
    """A connection on which no wait outlasts the deadline of the whole fetch, however slowly the bytes drip."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def _left(self, error: type[Exception]) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise error("out of time")
        return left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> _Stream:
        left = self._left(httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections to addresses that the rules allow."""

    def __init__(self, rules: FetchRules, deadline: float) -> None:
        self._rules = rules
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._allowed(host, port):
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise httpcore.ConnectTimeout("out of time")
            try:
                return _Stream(self._inner.connect_tcp(address, port, left), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _allowed(self, host: str, port: int) -> list[str]:
        """The host's addresses that may be used; raises when it has some, but none that may."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error
        addresses = [str(item[4][0]).partition("%")[0] for item in found]  # without an IPv6 zone
        refusals = {text: self._rules.refusal(host, port, ipaddress.ip_address(text)) for text in addresses}
        allowed = [text for text, refusal in refusals.items() if refusal is None]
        if not allowed and refusals:
            raise _Forbidden(next(iter(refusals.values())))
        return allowed


class _Transport(httpx.BaseTransport):
    """httpx on a connection pool of httpcore with our backend, through public interfaces only."""

    def __init__(self, backend: _Backend) -> None:
        self._pool = httpcore.ConnectionPool(ssl_context=httpx.create_ssl_context(), network_backend=backend, max_connections=2)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path),
                headers=request.headers.raw,
                content=b"",
                extensions=request.extensions,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The raw bytes of a response, as they come."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()
