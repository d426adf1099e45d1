"""JSON that is nested beyond what parsers take: the API server accepts 10,000 levels, Python's parsers about 1,000. Pure.

One such resource must not keep the operator from reading the others of a list.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

__all__ = ["CUT", "decode", "depth"]

CUT = 200
"""Levels that are read at most; what is deeper is replaced by null."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_decode = msgspec.json.Decoder().decode


def decode(content: bytes) -> Any:
    """The value in JSON text, cut where it is nested too deeply.

    Raises:
        msgspec.DecodeError: it is not JSON.
    """
    try:
        return _decode(content)
    except RecursionError:
        return _decode(_cut(content))


def _cut(content: bytes) -> bytes:
    parts: list[bytes] = []
    level = kept = start = 0
    for token in _TOKEN.finditer(content):
        text = token.group()
        if text in (b"{", b"["):
            level += 1
            if level == CUT + 1:
                start = token.start()
        elif text in (b"}", b"]"):
            if level == CUT + 1:
                parts += [content[kept:start], b"null"]
                kept = token.end()
            level -= 1
    return b"".join([*parts, content[kept:]])


def depth(value: object) -> int:
    """Levels of objects and lists in a value: 0 for a number, 1 for ``{}``."""
    level, layer = 0, [value]
    while True:
        containers = [item for item in layer if isinstance(item, dict | list)]
        if not containers:
            return level
        level += 1
        layer = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
