"""The primary of a replicated Valkey, and of a shard of a cluster, goes away under load; services go on by themselves."""

from __future__ import annotations

import asyncio

import pytest
import redis
from failover.run import NOT_PROMISED, halves, open_services, strike
from failover.servers import SERVICE, open_replicated, open_shards
from faultkit.history import Log
from faultkit.load import Client, mixed_plan
from faultkit.settle import settle
from faultkit.stand import Stand, until
from worker_bench import until as until_async

from dtq.config import Settings
from dtq.embedded import PostgresServer
from dtq.queue import Queue, keys
from dtq.queue.claims import Claims

pytestmark = pytest.mark.timeout(240)


def unharmed(stand: Stand) -> None:
    """What was accepted has ended once and has one row, and no promise was broken on the way."""
    verdict = settle(stand, 60, skip=NOT_PROMISED)
    assert not verdict.violations, verdict.violations


def test_nothing_accepted_is_lost_when_the_primary_is_killed(pg_server: PostgresServer, pg_dsn: str) -> None:
    """One of the two replicas becomes the primary, and the other one its replica."""
    with open_replicated(replicas=2) as servers:
        primary = servers.primary
        with open_services(servers.url, primary, pg_server, pg_dsn, WAITREPLICAS=1) as stand:
            seen = strike(stand, primary.kill, seed=1, plan=mixed_plan)
            assert seen["other 5xx"] == 0
            unharmed(stand)


def test_nothing_accepted_is_lost_when_a_shard_loses_its_primary(pg_server: PostgresServer, pg_dsn: str) -> None:
    """A replica is promoted by the cluster itself. The services' own address is that of the primary that is lost."""
    with open_shards() as shards:
        group = shards.group_of(keys.prefix("default"))
        primary = group.primary

        def fault() -> None:
            primary.kill()
            group.restart(primary, group.primary)  # WAITREPLICAS=1 asks for a replica, and each primary has but one

        with open_services(primary.url, primary, pg_server, pg_dsn, WAITREPLICAS=1) as stand:
            stand.redis_url = next(node.url for node in shards.nodes if node not in group.servers)
            seen = strike(stand, fault, seed=2, plan=mixed_plan)
            assert seen["other 5xx"] == 0
            unharmed(stand)


async def test_an_old_primary_that_lives_on_is_left_soon() -> None:
    """The Sentinels tell it ten seconds later; what it is given until then is lost."""
    with open_replicated(replicas=1) as servers:
        old = servers.primary
        queue = await Queue.connect(Settings(redisaddr=servers.url))
        claims = Claims(queue.client, "w", 60_000, 60_000, 60_000)
        try:
            await claims.renew("default")
            await queue.ping()  # both have a connection now, and keep it
            with redis.Redis.from_url(servers.sentinels[0].url) as client:
                client.execute_command("SENTINEL", "FAILOVER", SERVICE)
            await asyncio.to_thread(until, "another server is the primary", lambda: servers.named() not in (0, old.port))
            new = {"port": str(servers.named())}

            async def moved() -> bool:
                try:
                    return bool(await queue.client.config_get("port") == new)
                except redis.ConnectionError:  # it leaves the old one just now
                    return False

            await until_async("the client has moved", moved)
            await claims.renew("default")
            assert (await queue.stats(["default"]))[0].workers == 1  # the worker is known to the new primary
            assert old not in servers.replicas(), "the Sentinels were faster: nothing was tested"
        finally:
            await claims.close()
            await queue.close()


def test_without_a_replica_nothing_is_promised(pg_server: PostgresServer, pg_dsn: str) -> None:
    with open_replicated(replicas=1) as servers, open_services(servers.url, servers.primary, pg_server, pg_dsn, WAITREPLICAS=1) as stand:
        client = Client(stand.url, Log(stand.history, "client"), timeout=10.0)
        running = client.submit({"seconds": 0.5})
        assert running is not None
        [replica] = servers.replicas()
        servers.freeze(replica)
        body = {"type": "task", "payload": {"tag": "t"}, "idempotency_key": "k"}
        for _ in range(2):  # the second one repeats the first, which Redis has
            status, answer = client.call("POST", "/submit", body)
            assert (status, "WAITREPLICAS" in answer["detail"]) == (503, True), answer
        until("the job's end waits for a replica", lambda: "finish_delayed" in _output(stand))
        servers.thaw(replica)
        servers.wait_synced(1)
        status, answer = until("it is accepted", lambda: _accepted(client, body))
        assert status == 200  # the first one made the job
        until("all have their rows", lambda: {running, answer["id"]} <= {str(row["id"]) for row in stand.rows()})
        assert [(row["state"], len(row["attempts"])) for row in stand.rows()] == [("succeeded", 1)] * 2
        assert "stale_attempt" not in _output(stand)


def _accepted(client: Client, body: object) -> tuple[int, dict[str, str]] | None:
    status, answer = client.call("POST", "/submit", body)
    return (status, answer) if status < 300 else None


def _output(stand: Stand) -> str:
    return "".join(service.output.read_text(errors="replace") for service in stand.of("worker"))


def test_without_the_setting_nothing_is_half_done(pg_server: PostgresServer, pg_dsn: str) -> None:
    """The last moments may vanish, but whole: what is known of a job is known alike in Redis and PostgreSQL."""
    with open_replicated(replicas=1) as servers:
        primary = servers.primary
        with open_services(servers.url, primary, pg_server, pg_dsn) as stand:
            strike(stand, primary.kill, seed=3)
            _vanished, odd = halves(stand)
            assert not odd
