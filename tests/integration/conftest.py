"""A queue and a store of schedules on one real Valkey; an operator's parts on a small API server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import kopf
import pytest
from aiohttp.test_utils import TestServer
from faultkit.patience import LIMITS, PATIENCE
from kube_api import ApiServer, kubeconfig

from dtq.config import Settings
from dtq.queue import Queue, connection
from dtq.registry import load_registry
from dtq.schedule.store import ScheduleStore
from dtq_operator.accept import Acceptor
from dtq_operator.kube import Api
from dtq_operator.metrics import Metrics
from dtq_operator.sync import Syncer


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of Redis wait for longer than a service would: these tests are about what is answered, and a busy machine is slow."""
    for module, limit in (*LIMITS, (connection, "SENTINEL_TIMEOUT")):
        monkeypatch.setattr(module, limit, PATIENCE)


@pytest.fixture
async def tasks(redis_url: str) -> AsyncIterator[Queue]:
    queue = await Queue.connect(Settings(redisaddr=redis_url))
    yield queue
    await queue.close()


@pytest.fixture
def schedules(tasks: Queue) -> ScheduleStore:
    return ScheduleStore(tasks.client)


@pytest.fixture
async def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def api(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    running = TestServer(server.application())
    await running.start_server(shutdown_timeout=0.1)  # else it waits a minute for those who watch when a test fails
    async with running:
        url = str(running.make_url("/"))
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig(url)), "utf-8")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        api = Api(kopf.ConnectionInfo(server=url))
        yield api
        await api.close()


@pytest.fixture
def syncer(tasks: Queue, api: Api) -> Syncer:
    return Syncer(tasks, api, Acceptor(load_registry(["dtq.jobs"], entry_points=False).types), Metrics(), "c")
