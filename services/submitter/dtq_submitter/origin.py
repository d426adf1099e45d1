"""Requests that a foreign web page makes a browser send: refused. Pure.

A browser says in Sec-Fetch-Site or Origin which page is asking. What is not a browser sends neither, and passes. A page
whose own name was made to point to this machine (DNS rebinding) counts as the same site, but its Host gives it away.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from dtq.config import Settings, parse_addr
from dtq_submitter.problems import Problem

__all__ = ["foreign_host", "foreign_page", "is_loopback", "only_local"]

Headers = Iterable[tuple[bytes, bytes]]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether a host, without a port, is this machine's own for certain."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")


def only_local(settings: Settings) -> bool:
    """Whether nothing but the loopback address protects the API, so that Host must be checked."""
    return not settings.apikeysfile and not settings.allowanonymous and is_loopback(parse_addr(settings.apiaddr)[0])


def foreign_page(method: str, headers: Headers) -> Problem | None:
    """Why a request that changes something is refused: another site's page sent it. None if it is not."""
    if method in _SAFE:
        return None
    site = origin = host = b""
    for name, value in headers:
        if name == b"sec-fetch-site":
            site = value.lower()
        elif name == b"origin":
            origin = value.lower()
        elif name == b"host":
            host = value.lower()
    if site in (b"same-origin", b"none") or (not site and not origin):
        return None
    if site == b"cross-site" or (origin and origin.partition(b"://")[2] != host):
        return Problem(403, "forbidden", "a web page of another site sent this; it may not change anything here")
    return None


def foreign_host(headers: Headers) -> Problem | None:
    """Why a request to a loopback address is refused: its Host is another machine's name. None if it is not."""
    host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1")
    if not host or is_loopback(_without_port(host)):
        return None
    detail = f"without API keys requests must name this machine as localhost or 127.0.0.1, not {host[:100]!r}"
    return Problem(403, "forbidden", f"{detail}; to allow other names set APIKEYSFILE (see `dtq apikey`) or ALLOWANONYMOUS=true")


def _without_port(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
