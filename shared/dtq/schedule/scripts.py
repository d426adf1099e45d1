"""Loads the schedules' Lua scripts (shared/dtq/schedule/lua, one file each; its header is its contract)."""

from __future__ import annotations

from functools import cache

from dtq.queue.scripts import Script, assemble

__all__ = ["load"]

PROMISES = frozenset({"put", "delete"})
"""Scripts whose reply is told to an owner of schedules. A decision that is lost is decided again."""


@cache
def load(name: str) -> Script:
    """The script in shared/dtq/schedule/lua/NAME.lua."""
    return assemble("dtq.schedule", name, PROMISES)
