"""The SQL statements of the storage, one a file; each file's header is its contract."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["statement", "statement_for"]


@cache
def statement(name: str) -> bytes:
    """The text of ``<name>.sql`` without its comments. Bytes, as psycopg takes them for a trusted statement."""
    text = files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")).encode()


def statement_for(name: str, **parts: str) -> bytes:
    """The text of ``<name>.sql`` with each ``{part}`` replaced. The parts are SQL: never pass a user's text."""
    return statement(name).decode().format(**parts).encode()
