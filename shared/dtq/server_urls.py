"""Whether URLs of Redis and PostgreSQL can be read, before anybody connects.

Pure: without the servers' drivers, which programs that only look at settings need not load. What is wrong is told without
repeating the URL.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

__all__ = ["check_postgres_url", "check_redis_url"]

ENCODE = "write all but letters, digits and -._~ of user and password as %XX, such as %23 for #"
NUMBERS = frozenset({"db", "health_check_interval", "max_connections", "protocol", "socket_connect_timeout", "socket_timeout"})
"""Options of Redis' URLs that are numbers: their driver raises when one is not."""

_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_CREDENTIALS = re.compile(r"\A[^@/]*@")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_redis_url(url: str) -> None:
    """Of a redis://, rediss:// or unix:// URL.

    Raises:
        ValueError: it cannot be read, or only in another way than it was meant.
    """
    # The driver takes what follows a # for a fragment, and connects to what stands before it.
    if "#" in url:
        raise ValueError(f"this URL cannot be read: {ENCODE}")
    parts = _split(url)
    try:
        _ = parts.port
    except ValueError:  # its text repeats a piece of the password
        raise ValueError(f"this URL cannot be read: {ENCODE}; or its port is wrong") from None
    database = parts.path.removeprefix("/")
    if parts.scheme != "unix" and database and not database.isdecimal():
        raise ValueError(f"the number of a database is expected behind the /; if that is part of a password, {ENCODE}")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in NUMBERS and not _NUMBER.fullmatch(value):
            raise ValueError(f"this URL cannot be read: its option {name} has to be a number")


def check_postgres_url(url: str) -> None:
    """Of a postgresql:// or postgres:// URL.

    Raises:
        ValueError: as above.
    """
    # As libpq reads it: user and password end at the first @, unless a / comes before it.
    rest = url.partition("://")[2]
    address = _CREDENTIALS.sub("", rest, count=1).partition("?")[0]
    hosts, _, database = address.partition("/")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts.split(",")]
    if "@" in database or "@" in hosts or _BAD_PERCENT.search(url) or not all(_is_port(port) for port in ports):
        raise ValueError(f"this URL cannot be read: {ENCODE}; or its port is wrong")


def _is_port(text: str) -> bool:
    return not text or (text.isdecimal() and 0 < int(text) <= 65535)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(f"this URL cannot be read: {ENCODE}") from None
