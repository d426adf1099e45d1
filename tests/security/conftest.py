"""Fixtures of the attacks: services as processes, on servers that each module shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from service_process import Service, services

from dtq.embedded import ValkeyServer

NOWHERE = "postgresql://127.0.0.1:1/none"
"""A PostgreSQL that is away: what is attacked here does without."""


PATIENCE = 6
"""Seconds that a request may take (REQUESTSECONDS): a test that stands still for some in between is not cut off."""


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A submitter that has little patience."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("api")
    with services("submitter", folder=folder, REDISADDR=valkey_server.url, DATABASEURL=NOWHERE, REQUESTSECONDS=PATIENCE) as [service]:
        yield service
