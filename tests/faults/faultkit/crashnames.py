"""Names of the steps at which a process can be made to crash: from what it sends to Redis and PostgreSQL. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import hiredis

__all__ = ["SqlNames", "commands_of", "redis_step"]

_QUEUE_KEY = re.compile(rb"dtq:\{[^}]*\}:([a-z-]+)")
_SCHEDULE_KEY = re.compile(rb"\{dtq:schedules\}:([a-z]+)")
_LANES = ("f", "h", "n", "l")
_KEYLESS = {
    "PING",
    "TIME",
    "INFO",
    "CLIENT",
    "HELLO",
    "AUTH",
    "SELECT",
    "WAIT",
    "WAITAOF",
    "MULTI",
    "EXEC",
    "READONLY",
    "CLUSTER",
    "COMMAND",
}
_WITH_SUBCOMMAND = {"INFO", "CLIENT", "SCRIPT", "CLUSTER", "XINFO", "XGROUP"}


def commands_of(packet: bytes | str | Iterable[bytes]) -> list[list[bytes]]:
    """The commands that a packet holds, in RESP as clients write them."""
    reader = hiredis.Reader()
    for part in [packet] if isinstance(packet, (bytes, str)) else packet:
        reader.feed(part.encode() if isinstance(part, str) else part)
    found: list[list[bytes]] = []
    while True:
        command: Any = reader.gets()
        if not isinstance(command, list):  # False: no whole command is left
            return found
        found.append(command)


def redis_step(command: list[bytes], scripts: Mapping[str, str]) -> str:
    """Such as "script finish", "XDEL outbox", "SET idem". ``scripts``: SHA-1 to name."""
    verb = command[0].decode().upper()
    if verb == "EVALSHA":
        return f"script {scripts.get(command[1].decode(), command[1].decode()[:8])}"
    if verb == "EVAL":
        sha = hashlib.sha1(command[1], usedforsecurity=False).hexdigest()
        return f"script {scripts.get(sha, sha[:8])}"
    words = command[1:]
    if verb in _WITH_SUBCOMMAND and words:
        verb, words = f"{verb} {words[0].decode().upper()}", words[1:]
    if verb.split()[0] in _KEYLESS or verb.startswith("SCRIPT") or not words:
        return verb
    return f"{verb} {_kind(words[0])}"


def _kind(key: bytes) -> str:
    """What a key holds, by docs/architecture.md: its name without queue, id and the like."""
    if match := _SCHEDULE_KEY.match(key):
        return f"schedules {match[1].decode()}"
    if match := _QUEUE_KEY.match(key):
        kind = match[1].decode()
        return "lane" if kind in _LANES else kind
    return key.decode(errors="replace").removeprefix("dtq:").partition(":")[0]


class SqlNames:
    """Names statements by the files they come from, others by their first words."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """``files``: names to texts without comments; ``{part}`` in them stands for anything."""
        self._patterns = [(name, _pattern(text)) for name, text in files.items()]

    def step(self, query: bytes) -> str:
        """Such as "SQL insert" for insert.sql, "SQL COMMIT" for others, "SQL check" for an empty statement."""
        text = _parameters_out(query.decode(errors="replace"))
        for name, pattern in self._patterns:
            if pattern.fullmatch(text):
                return f"SQL {name}"
        words = " ".join(text.split()[:2]).partition("(")[0]
        return f"SQL {words or 'check'}"


def _parameters_out(text: str) -> str:
    """One spelling of white space and of parameters, which the driver numbers."""
    return " ".join(re.sub(r"%\(\w+\)[sbt]|%[sbt]|\$\d+", "?", text).split())


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"\\\{\w+\\\}", re.escape(_parameters_out(text)))
    return re.compile(".+".join(parts), re.DOTALL)
