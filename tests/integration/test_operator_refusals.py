"""What the operator does when the API server refuses something, and with resources that come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dtq.config import Settings
from dtq.queue import Queue
from dtq.registry import load_registry
from dtq.schedule.store import ScheduleStore
from dtq_operator.accept import Acceptor
from dtq_operator.kube import Api
from dtq_operator.metrics import Metrics
from dtq_operator.resource import Resource, parse_resource
from dtq_operator.sync import Syncer

Json = dict[str, Any]

WITHIN = "/apis/dtq.dev/v1/namespaces/{namespace}/scheduledjobs"
EMAIL = {"type": "email", "payload": {"to": "user@example.com", "subject": "s", "body": "b"}}


class ApiServer:
    """A small API server over HTTP: ScheduledJobs in memory, and answers that a test gives instead."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], Json] = {}
        self.refused: dict[tuple[str, str], tuple[int, Json]] = {}
        """What is answered instead, by method and namespace."""
        self.asked: list[tuple[str, str]] = []
        self.events: list[Json] = []

    def add(self, namespace: str, name: str, uid: str = "u", **status: object) -> Resource:
        """Put a resource there."""
        body = {
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": "0 3 * * *", "jobTemplate": EMAIL},
            "status": status,
        }
        self.resources[namespace, name] = body
        return parse_resource(body)

    def refuse(self, method: str, namespace: str, status: int = 403, **answer: object) -> None:
        """Answer so to every such request."""
        self.refused[method, namespace] = (status, {"message": "no", **answer})

    def application(self) -> web.Application:
        """All that the operator asks for."""
        found = web.Application(middlewares=[self._answer_instead])
        found.router.add_get(WITHIN, self._list)
        found.router.add_get(WITHIN + "/{name}", self._get)
        found.router.add_patch(WITHIN + "/{name}/status", self._patch)
        found.router.add_post("/api/v1/namespaces/{namespace}/events", self._event)
        return found

    @web.middleware
    async def _answer_instead(self, request: web.Request, handler: Any) -> web.StreamResponse:
        asked = (request.method, request.match_info["namespace"])
        self.asked.append(asked)
        if asked in self.refused:
            status, body = self.refused[asked]
            return web.json_response(body, status=status)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _list(self, request: web.Request) -> web.Response:
        namespace = request.match_info["namespace"]
        return web.json_response({"metadata": {}, "items": [body for key, body in self.resources.items() if key[0] == namespace]})

    async def _get(self, request: web.Request) -> web.Response:
        body = self.resources.get((request.match_info["namespace"], request.match_info["name"]))
        return web.json_response(body or {"message": "not found"}, status=200 if body else 404)

    async def _patch(self, request: web.Request) -> web.Response:
        body = self.resources[request.match_info["namespace"], request.match_info["name"]]
        test, *changes = await request.json()
        if test["value"] != body["metadata"]["uid"]:
            return web.json_response({"message": "the server rejected our request", "details": {}}, status=422)
        for change in changes:
            field = change["path"].removeprefix("/status").removeprefix("/")
            if field:
                body["status"][field] = change.get("value")
            else:
                body["status"] = change["value"]
        return web.json_response(body)

    async def _event(self, request: web.Request) -> web.Response:
        self.events.append(await request.json())
        return web.json_response({}, status=201)


@pytest.fixture
async def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Api]:
    async with TestServer(server.application()) as running:
        api = Api(kopf.ConnectionInfo(server=str(running.make_url("/"))))
        yield api
        await api.close()


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[Queue]:
    queue = await Queue.connect(Settings(redisaddr=redis_url))
    yield queue
    await queue.close()


@pytest.fixture
def store(queue: Queue) -> ScheduleStore:
    return ScheduleStore(queue.client)


@pytest.fixture
def syncer(queue: Queue, api: Api) -> Syncer:
    return Syncer(queue, api, Acceptor(load_registry(["dtq.jobs"], entry_points=False).types), Metrics(), "c")


async def names(store: ScheduleStore) -> set[str]:
    return {entry.name for entry in (await store.list())[0]}


async def left_for_later(server: ApiServer, syncer: Syncer, *namespaces: str) -> None:
    """Let the operator notice a resource in each of them while the API server is away."""
    for namespace in namespaces:
        resource = server.add(namespace, "job", uid=namespace)
        server.refuse("GET", namespace, status=503)
        await syncer.sync_named(namespace, "job", resource.uid, resource.generation)
        del server.refused["GET", namespace]


async def test_a_refused_read_does_not_hold_up_what_is_done_again(server: ApiServer, syncer: Syncer, store: ScheduleStore) -> None:
    await left_for_later(server, syncer, "gone", "stays")
    server.refuse("GET", "gone")
    await syncer.flush()
    assert await names(store) == {"stays.job"}
    server.asked.clear()
    await syncer.flush()
    assert server.asked == [], "nothing is left to be done again; a refused one is looked at by the resync"


async def test_a_removed_resource_is_not_read_again(server: ApiServer, syncer: Syncer) -> None:
    await left_for_later(server, syncer, "ns")
    server.asked.clear()
    await syncer.remove("ns", "job", "ns")
    await syncer.flush()
    assert server.asked == []


async def test_the_removal_of_an_older_one_leaves_its_successor_to_be_read(server: ApiServer, syncer: Syncer, store: ScheduleStore) -> None:
    await left_for_later(server, syncer, "ns")
    await syncer.remove("ns", "job", "an older one of this name")
    await syncer.flush()
    assert await names(store) == {"ns.job"}
