"""Who may do what: the role that a request needs, and the key that it brings. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from dtq.apikeys import ApiKey, Role
from dtq_submitter.problems import Problem

__all__ = ["check", "presented_key", "role_for"]

SUBMIT_PATHS = frozenset({"/submit", "/submit/batch"})

OPEN = frozenset({"/livez", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json"})
"""Needs no key. Probes and scrapers have none; the metrics tell names of queues and types, and numbers, but no payload."""


def role_for(method: str, path: str) -> Role | None:
    """The role that is needed, None if anybody may."""
    if path in OPEN:
        return None
    if path in SUBMIT_PATHS:
        return "submit"
    return "read" if method in ("GET", "HEAD") else "admin"


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key in ``Authorization: Bearer KEY`` or ``X-API-Key``; the first one counts."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer":
                return key.strip()
    return None


def check(key: ApiKey | None, presented: bool, role: Role) -> Problem | None:
    """Why a request that needs ``role`` is refused, None if it is not."""
    if key is None:
        detail = "this API key is not known" if presented else "an API key is needed: send Authorization: Bearer KEY"
        return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="dtq"'})
    if not key.allows(role):
        return Problem(403, "forbidden", f"this needs the role {role}; key {key.name!r} has {key.role}")
    return None
