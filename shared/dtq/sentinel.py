"""REDISADDR as the address of a replicated server whose primary is named by Sentinels. Reads the text only."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

__all__ = ["SCHEME", "SentinelAddress", "parse_sentinel"]

SCHEME = "sentinel://"
FORM = "sentinel://[user:password@]host[:port][,host[:port]...]/SERVICE[/DB][?sentinel_username=...&sentinel_password=...]"
PORT = 26379
"""Where a Sentinel listens unless told otherwise."""

OPTIONS = frozenset({"sentinel_username", "sentinel_password"})


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where the Sentinels are, what they call the primary, and the credentials for the primary and for them."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def parse_sentinel(url: str) -> SentinelAddress:
    """Read such a URL; what has a meaning in URLs is written as %XX in names and passwords.

    Raises:
        ValueError: it is none; the text says what is allowed, and does not repeat the URL.
    """
    if not url.startswith(SCHEME):
        raise _wrong()
    rest, _, query = url.removeprefix(SCHEME).partition("?")
    before, at, address = rest.rpartition("@")
    hosts, _, path = address.partition("/")
    service, _, db = path.partition("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not service or options.keys() - OPTIONS or not (db or "0").isdecimal():
        raise _wrong()
    user, _, password = before.partition(":") if at else ("", "", "")
    return SentinelAddress(
        tuple(_host(host) for host in hosts.split(",")),
        unquote(service),
        int(db or "0"),
        unquote(user) or None,
        unquote(password) or None,
        options.get("sentinel_username") or None,
        options.get("sentinel_password") or None,
    )


def _host(text: str) -> tuple[str, int]:
    """``host``, ``host:port``, ``[ipv6]`` or ``[ipv6]:port``."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _wrong()
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    number = port or str(PORT)
    if not host or not number.isdecimal() or not 0 < int(number) <= 65535:
        raise _wrong()
    return host, int(number)


def _wrong() -> ValueError:
    return ValueError(f"expected {FORM}")
