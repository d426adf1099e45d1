"""Short troubles that every service outlives: it stands still, or its servers cut it off, hang, are full, or forget.

Each returns what shows that it happened: a count that is 0 if it did not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import redis
from psycopg import sql

from faultkit.frozen import family, frozen, is_frozen
from faultkit.stand import Stand, until

__all__ = ["TROUBLES"]

FREEZE = 6.0
"""Seconds: longer than a lease is by default."""
HANG = 1.5
CUTS = 5
BETWEEN = 0.2
"""Seconds between two cuts."""


OURS = "faults"
"""Connections to PostgreSQL of this name are not cut: troubles are side by side."""


def _postgres(stand: Stand, *, autocommit: bool = True) -> psycopg.Connection[Any]:
    return psycopg.connect(stand.database_url, autocommit=autocommit, application_name=OURS)


def _freeze(stand: Stand) -> int:
    worker = stand.of("worker")[-1]
    pids = family(worker.pid)
    with frozen(stand.log, worker.name, pids):
        time.sleep(FREEZE)
        return sum(map(is_frozen, pids))


def _cut_off(stand: Stand) -> int:
    stand.log.note("fault", text="CLIENT KILL", target="valkey")
    cut = 0
    with redis.Redis.from_url(stand.redis_url) as client:
        for _ in range(CUTS):
            cut += int(client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
            time.sleep(BETWEEN)
    return cut


def _hang(stand: Stand) -> int:
    stand.log.note("fault", text="CLIENT PAUSE", target="valkey")
    with redis.Redis.from_url(stand.redis_url) as client:
        began = time.monotonic()
        client.client_pause(round(HANG * 1000), all=True)
        client.ping()
        return int(time.monotonic() - began >= HANG / 2)


def _fill(stand: Stand) -> int:
    """Valkey takes no more, until it has refused something."""
    stand.log.note("fault", text="maxmemory 1", target="valkey")
    with redis.Redis.from_url(stand.redis_url) as client:

        def refused() -> tuple[str, int]:
            """Of which life, and how often."""
            return str(client.info("server")["run_id"]), int(client.info("errorstats").get("errorstat_OOM", {}).get("count", 0))

        life, before = refused()

        def newly() -> int:
            client.config_set("maxmemory", 1)  # once more: it may have been killed and started since
            now, count = refused()
            return count - before if now == life else count

        try:
            return int(until("Valkey refuses what needs memory", newly, 30))
        finally:
            client.config_set("maxmemory", 0)


def _forget(stand: Stand) -> int:
    """Valkey has no script any more."""
    stand.log.note("fault", text="SCRIPT FLUSH", target="valkey")
    with redis.Redis.from_url(stand.redis_url) as client:
        before = int(client.info("memory")["number_of_cached_scripts"])
        client.script_flush()
        return before


def _cut_off_from_postgres(stand: Stand) -> int:
    stand.log.note("fault", text="pg_terminate_backend", target="postgres")
    cut = 0
    with _postgres(stand) as connection:
        for _ in range(CUTS):
            ended = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND application_name <> %s",
                [OURS],
            ).fetchone()
            cut += int(ended[0]) if ended else 0
            time.sleep(BETWEEN)
    return cut


def _lock(stand: Stand) -> int:
    """Nobody reads or writes results for a while."""
    stand.log.note("fault", text="LOCK TABLE", target="postgres")
    with _postgres(stand, autocommit=False) as connection:
        connection.execute("LOCK TABLE dtq.jobs IN ACCESS EXCLUSIVE MODE")

        def waiting() -> int:
            found = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            return int(found[0]) if found else 0

        held_up = int(until("somebody waits for the table", waiting, 30))
        time.sleep(HANG)
    return held_up


def _only_read(stand: Stand) -> int:
    """PostgreSQL takes no writes, as a primary that has become a standby; who is connected is not cut off when it does again."""
    stand.log.note("fault", text="default_transaction_read_only", target="postgres")

    def alter(change: str) -> bool:
        with _postgres(stand) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(sql.SQL("ALTER DATABASE {} {}").format(sql.Identifier(connection.info.dbname), sql.SQL(change)))
        return True

    def undone() -> bool:
        with contextlib.suppress(psycopg.Error):  # it may be down just now, or cut this connection off
            return alter("RESET default_transaction_read_only")
        return False

    try:
        alter("SET default_transaction_read_only = on")
        _cut_off_from_postgres(stand)
        time.sleep(HANG)
        with _postgres(stand, autocommit=False) as connection:
            found = connection.execute("SHOW default_transaction_read_only").fetchone()
        return int(found == ("on",))
    finally:
        until("PostgreSQL takes writes again", undone)


TROUBLES: Mapping[str, Callable[[Stand], int]] = {
    "a worker frozen": _freeze,
    "connections to Valkey cut": _cut_off,
    "Valkey hangs": _hang,
    "Valkey full": _fill,
    "scripts forgotten": _forget,
    "connections to PostgreSQL cut": _cut_off_from_postgres,
    "PostgreSQL's table locked": _lock,
    "PostgreSQL read-only": _only_read,
}
