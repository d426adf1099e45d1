"""How large everything is: keys, streams, memory, connections, files. What has grown from one look to the next is told."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from faultkit.stand import Stand

__all__ = ["Sizes", "documented", "grown", "measure"]

PAGE = Path(__file__).parents[3] / "docs" / "architecture.md"
MB = 1024 * 1024
CONNECTIONS = 16
"""Connections by which pools may differ: they keep as many as were once needed at the same moment."""
FILES = 16
SERVER_MEMORY = 2 * MB
"""Bytes of Valkey's own: buffers, tables that have not shrunk yet."""
PROCESS_MEMORY = 40 * MB
"""Bytes of a service's: at a million jobs, 40 bytes for each would be found."""

PARTS = {"Q": "[^}]+", "ID": "[^:]+", "NAME": ".+", "UID": ".+", "KEY": ".+", "SLICE": "[0-9a-f]{9}", "WORKER": ".+"}
EXPIRES = re.compile(r"IDEMPOTENCYTTL|RESULTTTL|1 hour|an hour|DEADTTL after")
"""How lives of keys begin which must have an expiry."""


@dataclass
class Sizes:
    """One look. Names are of keys with what differs left out, or of services."""

    keys: Counter[str] = field(default_factory=Counter)
    """Keys by what they are, such as ``dtq:{Q}:done:SLICE``."""
    lasting: Counter[str] = field(default_factory=Counter)
    """Those without an expiry."""
    members: dict[str, int] = field(default_factory=dict)
    """Entries of each stream, set and hash that has no expiry, by its full name."""
    pending: dict[str, int] = field(default_factory=dict)
    consumers: dict[str, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    """Keys that the documentation does not know, or that ought to expire and do not."""
    server: dict[str, int] = field(default_factory=dict)
    """Valkey: used_memory, connected_clients. PostgreSQL: connections."""
    files: dict[str, int] = field(default_factory=dict)
    """Open files of each service, and of its process id: a service that was started anew has another."""
    memory: dict[str, int] = field(default_factory=dict)
    """Resident bytes likewise."""


def documented(page: str) -> list[tuple[str, re.Pattern[str], bool]]:
    """The keys of the table in docs/architecture.md: name, pattern, and whether such a key must expire. Pure."""
    found = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 4 and cells[0].startswith(("`dtq:", "`{dtq")):
            for name in re.findall("`([^`]+)`", cells[0]):
                pattern = re.sub(r"[A-Z]+", lambda part: PARTS[part.group()], re.escape(name).replace(r"\{Q\}", "{Q}"))
                found.append((name, re.compile(pattern), bool(EXPIRES.match(cells[3]))))
    assert len(found) > 25, "the table of keys is not where it was"
    return found


def measure(stand: Stand) -> Sizes:
    """Look at everything of a stand."""
    sizes = Sizes()
    with redis.Redis.from_url(stand.redis_url, decode_responses=True) as client:
        known = documented(PAGE.read_text())
        for key in client.scan_iter(count=1000):
            _add_key(sizes, client, key, known)
        info: dict[str, Any] = client.info()
        sizes.server = {"used_memory": int(info["used_memory"]), "connected_clients": int(info["connected_clients"])}
    with psycopg.connect(stand.database_url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchone()
        sizes.server["postgres_connections"] = int(row[0]) if row else 0
    for service in stand.services.values():
        if service.alive():
            name = f"{service.name} ({service.pid})"
            sizes.files[name] = len(list(Path(f"/proc/{service.pid}/fd").iterdir()))
            sizes.memory[name] = int(Path(f"/proc/{service.pid}/statm").read_text().split()[1]) * 4096
    return sizes


def _add_key(sizes: Sizes, client: redis.Redis, key: str, known: list[tuple[str, re.Pattern[str], bool]]) -> None:
    name, expires = next(((name, expires) for name, pattern, expires in known if pattern.fullmatch(key)), ("", False))
    ttl = client.pttl(key)
    if ttl == -2:  # it has just gone
        return
    sizes.keys[name or key] += 1
    if not name:
        sizes.odd.append(f"{key} is not documented")
    if ttl != -1:
        return
    sizes.lasting[name or key] += 1
    if expires:
        sizes.odd.append(f"{key} does not expire")
    count = {"stream": client.xlen, "set": client.scard, "zset": client.zcard, "hash": client.hlen, "list": client.llen}
    kind = client.type(key)
    if kind in count:
        sizes.members[key] = count[kind](key)
    if kind == "stream":
        groups = client.xinfo_groups(key)
        sizes.pending[key] = sum(int(group["pending"]) for group in groups)
        sizes.consumers[key] = sum(int(group["consumers"]) for group in groups)


def grown(base: Sizes, now: Sizes) -> list[str]:
    """What is larger than it was, by more than the margins above. Pure.

    Counts of keys, entries, claims and consumers have no margin but for the tokens, boxes and idle workers of the moment.
    """
    found = list(now.odd)
    pairs = [("keys", base.keys, now.keys), ("keys without expiry", base.lasting, now.lasting)]
    pairs += [("entries", Counter(base.members), Counter(now.members)), ("claims", Counter(base.pending), Counter(now.pending))]
    pairs += [("consumers", Counter(base.consumers), Counter(now.consumers))]
    for what, before, after in pairs:
        more = {name: count for name, count in after.items() if count > before[name] and not _brief(name)}
        found += [f"{count} {what} {name}, at first {before[name]}" for name, count in more.items()]
    margins = {"used_memory": SERVER_MEMORY, "connected_clients": CONNECTIONS, "postgres_connections": CONNECTIONS}
    for name, value in now.server.items():
        if value > base.server[name] + margins[name]:
            found.append(f"{name} is {value}, at first {base.server[name]}")
    for what, margin, old, new in (("open files", FILES, base.files, now.files), ("bytes", PROCESS_MEMORY, base.memory, now.memory)):
        found += [f"{name} has {new[name]} {what}, at first {old[name]}" for name in old if new.get(name, 0) > old[name] + margin]
    return found


def _brief(name: str) -> bool:
    """Whether a key comes and goes with each wait of an idle worker."""
    return ":box:" in name or name.endswith((":wake", ":idle"))
