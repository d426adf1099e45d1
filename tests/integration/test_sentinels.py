"""Who asks Sentinels for the primary is told what is wrong, as a queue that is away: not a fault of the program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from failover.servers import SERVICE, Replicated, open_replicated

from dtq.config import Settings
from dtq.embedded import ValkeyServer, free_port
from dtq.errors import QueueUnavailable
from dtq.queue import Queue


@pytest.fixture(scope="module")
def replicated() -> Iterator[Replicated]:
    with open_replicated(replicas=0) as servers:
        yield servers


async def ask(url: str) -> None:
    queue = await Queue.connect(Settings(redisaddr=url))
    try:
        await queue.queues()
    finally:
        await queue.close()


async def refusal(url: str) -> str:
    with pytest.raises(QueueUnavailable) as refused:
        await ask(url)
    return str(refused.value)


async def test_a_server_that_is_no_sentinel_is_named(redis_url: str) -> None:
    place = urlsplit(redis_url).netloc
    assert f"no Sentinel of REDISADDR names a primary for 'mine' ({place}: this server is no Sentinel)" in await refusal(
        f"sentinel://{place}/mine"
    )


async def test_sentinels_that_are_away_are_named_without_the_insides_of_a_client() -> None:
    ports = free_port(), free_port()
    text = await refusal(f"sentinel://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}/mine")
    assert all(f"127.0.0.1:{port}: Error" in text for port in ports)
    assert "<" not in text


async def test_a_service_that_the_sentinels_do_not_know_is_named(replicated: Replicated) -> None:
    text = await refusal(replicated.url.replace(f"/{SERVICE}", "/another"))
    assert "names a primary for 'another' (" in text
    assert "no such service" in text


async def test_a_sentinel_that_asks_for_a_password_points_to_the_option(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "data")
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "secret")
        text = await refusal(f"sentinel://127.0.0.1:{server.port}/mine")
    finally:
        server.stop()
    assert "sentinel_password" in text


async def test_one_that_is_none_is_passed_over(replicated: Replicated, redis_url: str) -> None:
    await ask(replicated.url.replace("sentinel://", f"sentinel://{urlsplit(redis_url).netloc},"))
