"""Loads the schedules' Lua scripts (shared/dtq/schedule/lua, one file each; its header is its contract)."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from dtq.queue.scripts import Script

__all__ = ["load"]

PROMISES = frozenset({"put", "delete"})
"""Scripts whose reply is told to an owner of schedules. A decision that is lost is decided again."""


@cache
def load(name: str) -> Script:
    """The script in lua/NAME.lua, with what it includes, without comment lines."""
    folder = files("dtq.schedule") / "lua"
    text = (folder / f"{name}.lua").read_text("utf-8")
    if "--#include common" in text:
        text = (folder / "common.lua").read_text("utf-8") + text
    text = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--"))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), promise=name in PROMISES)
