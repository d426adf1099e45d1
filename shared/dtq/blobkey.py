"""What a blob may be called. Pure, so that payload models can check keys without an object store."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

__all__ = ["MAX_KEY", "BlobKey", "check_key", "default_key"]

MAX_KEY = 512
"""Characters of a key; S3 allows 1,024 bytes."""

_FORBIDDEN = frozenset('\\{}^%`[]"<>~#|*?')
"""Characters that object stores, URLs or DuckDB's file names give a meaning of their own."""


def check_key(key: str) -> str:
    """The key itself: a relative path of plain names such as ``photos/cat.jpg``.

    Raises:
        ValueError: it could lead out of the store, or mean different blobs in different stores.
    """
    if not key or len(key) > MAX_KEY:
        raise ValueError(f"a blob key has 1 to {MAX_KEY} characters")
    if key.startswith("/"):
        raise ValueError("a blob key is relative: leave out the leading '/'")
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise ValueError("a blob key has no empty, '.' or '..' part between its '/'")
    odd = next((char for char in key if char in _FORBIDDEN or not char.isprintable()), None)
    if odd is not None:
        raise ValueError(f"a blob key may not contain {odd!r}")
    return key


def default_key(job_id: str, extension: str) -> str:
    """Where a job's output goes that names no key: the same for every attempt, so that a retry overwrites it."""
    return f"jobs/{job_id}.{extension}"


BlobKey = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY), AfterValidator(check_key)]
"""A blob key as a payload's field."""
