"""API keys: how one is made, and the file (APIKEYSFILE) that lists those the submitter accepts.

One key a line, as ``dtq apikey`` prints it; ``#`` starts a comment::

    NAME ROLE sha256:HEX

The file holds hashes only, so that reading it gives no access. A key has 256 random bits: nobody guesses it, so one
round of SHA-256 is enough, and checking one costs a microsecond.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from dtq.errors import ConfigError

__all__ = ["ROLES", "ApiKey", "Role", "find_key", "hash_key", "new_key", "parse_keys"]

Role = Literal["read", "submit", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Weakest first; each role may do what those before it may."""

NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A line of the file: who (``name``, for the log), what they may do, and the key's ``hash``."""

    name: str
    role: Role
    hash: str

    def __str__(self) -> str:
        """The line."""
        return f"{self.name} {self.role} {self.hash}"

    def allows(self, role: Role) -> bool:
        """Whether the key is good for what ``role`` may do."""
        return ROLES.index(self.role) >= ROLES.index(role)


def new_key() -> tuple[str, str]:
    """A fresh key and its hash. The key is shown once and kept nowhere."""
    key = "dtq_" + secrets.token_urlsafe(32)
    return key, hash_key(key)


def hash_key(key: str) -> str:
    """What the file has in place of ``key``."""
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def parse_keys(text: str, source: str = "APIKEYSFILE") -> list[ApiKey]:
    """Read the file's text, which may hold no key; ``source`` names the file in errors.

    Raises:
        ConfigError: a line is not of the form above, or a key stands there twice.
    """
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _parse_line(words, f"{source}, line {number}")
        if key.hash in keys:
            raise ConfigError(f"{source}, line {number}: the same key as {keys[key.hash].name}'s")
        keys[key.hash] = key
    return list(keys.values())


def find_key(keys: Iterable[ApiKey], presented: str) -> ApiKey | None:
    """The key that ``presented`` is, or None. Looks at all of them, so that time tells nothing."""
    digest = hash_key(presented).encode()
    found = None
    for key in keys:
        if hmac.compare_digest(key.hash.encode(), digest):
            found = key
    return found


def _parse_line(words: list[str], place: str) -> ApiKey:
    if len(words) != 3:
        raise ConfigError(f"{place}: expected NAME ROLE sha256:HEX")
    name, role, digest = words
    if not NAME.fullmatch(name):
        raise ConfigError(f"{place}: name {name!r} may have letters, digits and . _ @ - only")
    if not _HASH.fullmatch(digest):
        # Not shown: it may be a key that somebody put there instead of its hash.
        raise ConfigError(f"{place}: the third word is not sha256: and 64 hex digits, as `dtq apikey` prints it")
    for known in ROLES:
        if role == known:
            return ApiKey(name, known, digest)
    raise ConfigError(f"{place}: role {role!r} is none of {', '.join(ROLES)}")
