"""Loads the Lua scripts (shared/dtq/lua, one file each; its header is its contract) and runs them by digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from dtq.queue.connection import Client, call, exchange, replicas_of, translated
from dtq.queue.replicas import Exchange, confirmed

__all__ = ["Script", "assemble", "load", "needed"]

PROMISES = frozenset({"submit", "finish", "cancel", "replay", "fire", "resume"})
"""Scripts whose reply is told to somebody, or leads to a row in PostgreSQL. What the others do is done again if it is lost."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and its SHA-1, by which the server caches it. ``promise``: its effect must not be lost once replied."""

    name: str
    text: str
    sha: str
    promise: bool = False

    async def run(self, client: Client, keys: list[str], args: list[Any]) -> Any:
        """Run it; a server that does not know it yet (new, or restarted) gets the text.

        Raises:
            QueueUnavailable: the server does not answer or refuses writes, or too few replicas have what was promised.
        """
        replicas = replicas_of(client) if self.promise else 0
        if replicas:
            return await self.run_confirmed(partial(exchange, client), replicas, keys, args)
        return await self.run_by(partial(call, client), keys, args)

    async def run_by(self, send: Callable[..., Awaitable[Any]], keys: list[str], args: list[Any]) -> Any:
        """Run it through ``send(*command)``.

        Raises:
            QueueUnavailable: the server does not answer or refuses writes.
            QueueDamaged: a key of the queue is not what it should be.
        """
        with translated(keys[0]):
            try:
                return await send("EVALSHA", self.sha, len(keys), *keys, *args)
            except NoScriptError:
                return await send("EVAL", self.text, len(keys), *keys, *args)

    async def run_confirmed(self, exchange: Exchange, replicas: int, keys: list[str], args: list[Any]) -> Any:
        """Run it through ``exchange``; return when ``replicas`` replicas have its effect.

        Raises:
            QueueUnavailable: the server does not answer or refuses writes, or too few replicas have it.
        """
        with translated(keys[0]):
            try:
                return await confirmed(exchange, replicas, keys[0], ("EVALSHA", self.sha, len(keys), *keys, *args))
            except NoScriptError:
                return await confirmed(exchange, replicas, keys[0], ("EVAL", self.text, len(keys), *keys, *args))


def _strip(text: str) -> str:
    """Without comment lines: the server hashes and compiles less, and a changed comment is not a changed script."""
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--"))


_WORD = re.compile(r"\w+")
_NAME = re.compile(r"local (?:function )?(\w+)")


def needed(helpers: str, script: str) -> str:
    """The definitions among ``helpers`` that ``script`` uses, itself or through others; each begins with ``local`` in the first column.

    The server makes every function of a script anew each time it runs it: with all helpers that takes longer than a submission.
    Lua sees what was defined above alone, so one pass upwards finds all.
    """
    kept: list[str] = []
    used = set(_WORD.findall(script))
    for definition in reversed(re.split(r"^(?=local )", helpers, flags=re.MULTILINE)):
        name = _NAME.match(definition)
        if name is None or name[1] in used:
            kept.append(definition)
            used.update(_WORD.findall(definition))
    return "".join(reversed(kept))


def assemble(package: str, name: str, promises: Collection[str]) -> Script:
    """The script in lua/NAME.lua of a package, with what it needs of the common.lua beside it."""
    folder = files(package) / "lua"
    text = (folder / f"{name}.lua").read_text("utf-8")
    included = "--#include common" in text
    text = _strip(text)
    if included:
        text = needed(_strip((folder / "common.lua").read_text("utf-8")) + "\n", text) + text
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), promise=name in promises)


@cache
def load(name: str) -> Script:
    """The script in shared/dtq/lua/NAME.lua."""
    return assemble("dtq", name, PROMISES)
