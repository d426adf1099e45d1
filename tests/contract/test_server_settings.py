"""Settings of Redis that break DTQ's promises are told in the scheduler's log, as far as its user may ask for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from structlog.testing import capture_logs

from dtq.config import load_settings
from dtq.embedded import ValkeyServer
from dtq.queue import Queue
from dtq_scheduler.servers import address
from dtq_scheduler.settings import ServerSettings, read_settings, wrong

GOOD = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


@pytest.fixture
async def durable(tmp_path: Path) -> AsyncIterator[Queue]:
    """On a server that writes through, as DTQ wants it: that of other tests has no file."""
    server = ValkeyServer(tmp_path)
    server.start()
    try:
        queue = await Queue.connect(load_settings(redisaddr=server.url))
        try:
            yield queue
        finally:
            await queue.close()
    finally:
        server.stop()


async def test_the_settings_that_dtq_wants_are_not_told(durable: Queue) -> None:
    assert list((await read_settings(durable.client)).values()) == [GOOD]
    with capture_logs() as logs:
        await ServerSettings(durable).step()
    assert logs == []


@pytest.mark.parametrize("backend", ["cluster"], indirect=True)
async def test_each_primary_of_a_cluster_is_asked(queue: Queue) -> None:
    found = await read_settings(queue.client)
    assert list(found.values()) == 3 * [GOOD | {"appendonly": "no"}]


async def test_wrong_ones_are_told_once_each_and_again_when_they_come_back(durable: Queue) -> None:
    client = durable.client
    watch = ServerSettings(durable)
    with capture_logs() as logs:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await client.config_set("appendfsync", "everysec")
        await watch.step()
        await watch.step()
        assert [(log["event"], log["setting"], log["value"], log["wanted"]) for log in logs] == [
            ("redis_setting", "appendfsync", "everysec", "always"),
            ("redis_setting", "maxmemory-policy", "allkeys-lru", "noeviction"),
        ]
        assert {(log["log_level"], log["node"]) for log in logs} == {("warning", address(client))}
        await client.config_set("maxmemory-policy", "noeviction")
        await watch.step()
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await watch.step()
    assert [log["setting"] for log in logs[2:]] == ["maxmemory-policy"]


async def test_a_server_without_its_file_is_told_of_that_alone(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, durable=False, extra_args=["--appendfsync", "everysec"])
    server.start()
    try:
        client = redis.asyncio.Redis.from_url(server.url)
        try:
            found = await read_settings(client)
        finally:
            await client.aclose()
    finally:
        server.stop()
    assert {(name, value) for _node, name, value in wrong(found)} == {("appendonly", "no")}


@pytest.mark.parametrize(
    ("rights", "known"),
    [("-info", {"appendfsync"}), ("-config", {"appendonly", "maxmemory-policy"}), ("-info -config", set())],
)
async def test_what_a_user_may_not_ask_is_left_out(redis_url: str, rights: str, known: set[str]) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command("ACL", "SETUSER", "narrow", "on", ">secret", "~*", "+@all", *rights.split())
        client = redis.asyncio.Redis.from_url(redis_url.replace("redis://", "redis://narrow:secret@"))
        try:
            (settings,) = (await read_settings(client)).values()
            assert settings.keys() == known
        finally:
            await client.aclose()
            admin.execute_command("ACL", "DELUSER", "narrow")
