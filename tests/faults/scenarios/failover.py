"""Failover: the primary of a replicated Valkey, or of a cluster's shard, is killed, frozen or replaced under load.

With WAITREPLICAS nothing accepted may be lost. Without it what vanishes is counted, and nothing may be half-done, except
where two primaries served at once: that is counted too.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from failover.run import NOT_PROMISED, halves, open_services, planned, simple_plan, strike
from failover.servers import Replicated, open_replicated, open_shards
from faultkit.load import mixed_plan
from faultkit.report import Result, Scenario
from faultkit.settle import faults_told, settle
from faultkit.stand import until

from dtq.embedded import PostgresServer
from dtq.queue import keys
from dtq.storage.migrate import migrate

__all__ = ["SCENARIO"]

NAME = "failover"


def _kill(servers: Replicated) -> None:
    servers.primary.kill()


def _freeze(servers: Replicated) -> None:
    """As a host that has lost its network: its connections stay open, and nothing comes."""
    primary = servers.primary
    servers.freeze(primary)
    try:
        until("another server is the primary", lambda: servers.named() not in (0, primary.port))
    finally:
        servers.thaw(primary)


REPLACED = "replaced while it lives"
FAULTS: dict[str, Callable[[Replicated], None]] = {"killed": _kill, "frozen": _freeze, REPLACED: planned}


def _replicated(postgres: PostgresServer, how: str, replicas: int, wait: int) -> Result:
    began = time.monotonic()
    seed = random.SystemRandom().randrange(10**6)
    with (
        open_replicated(replicas=replicas) as servers,
        open_services(servers.url, servers.primary, postgres, _database(postgres), WAITREPLICAS=wait) as stand,
    ):
        seen = strike(stand, lambda: FAULTS[how](servers), seed=seed, pause=0.005, plan=mixed_plan if wait else simple_plan)
        if wait:
            verdict = settle(stand, skip=NOT_PROMISED)
            found, seen["executed again"] = verdict.violations, verdict.figures["executed again"]
        else:
            vanished, odd = halves(stand)
            seen["vanished"] = len(vanished)
            if how == REPLACED:  # two primaries served at once: which of them a client had met is chance
                seen["half-done"], odd = len(odd), []
            found = odd + faults_told(stand)
            if seen["other 5xx"]:
                found.append(f"{seen['other 5xx']} answers of 5xx other than 503")
    step = f"primary {how}, {replicas} replicas, WAITREPLICAS={wait}"
    return Result(NAME, step, found, seen, time.monotonic() - began)


def _shard(postgres: PostgresServer) -> Result:
    began = time.monotonic()
    with open_shards() as shards:
        group = shards.group_of(keys.prefix("default"))
        primary = group.primary

        def fault() -> None:
            primary.kill()
            group.restart(primary, group.primary)

        with open_services(primary.url, primary, postgres, _database(postgres), WAITREPLICAS=1) as stand:
            stand.redis_url = next(node.url for node in shards.nodes if node not in group.servers)
            seen = strike(stand, fault, seed=random.SystemRandom().randrange(10**6), plan=mixed_plan)
            verdict = settle(stand, skip=NOT_PROMISED)
    seen["executed again"] = verdict.figures["executed again"]
    return Result(
        NAME,
        "shard's primary killed, and back as a replica, WAITREPLICAS=1",
        verdict.violations,
        seen,
        time.monotonic() - began,
    )


def _database(postgres: PostgresServer) -> str:
    """URL of a migrated database of its own; it goes with its server."""
    dsn = postgres.url_of(f"failover_{random.SystemRandom().randrange(10**9)}")
    migrate(dsn)  # makes it
    return dsn


def _run(scale: float) -> list[Result]:
    repeats = max(1, round(3 * scale))
    folder = Path(tempfile.mkdtemp(prefix="dtq-failover-pg-"))
    folder.chmod(0o755)
    postgres = PostgresServer(folder)
    results: list[Result] = []
    try:
        postgres.start()
        results.append(_replicated(postgres, "killed", 2, 1))
        results.append(_shard(postgres))
        if scale >= 0.5:
            results.append(_replicated(postgres, "frozen", 2, 1))
            results.append(_replicated(postgres, REPLACED, 1, 1))
            for _ in range(repeats):
                results += [_replicated(postgres, how, 1, 0) for how in FAULTS]
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return results


SCENARIO = Scenario(NAME, _run)
