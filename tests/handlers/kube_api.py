"""A small API server over HTTP for the tests of the operator, and what makes an operator's parts on it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from dtq.schedule.store import ScheduleStore
from dtq_operator.kube import Api
from dtq_operator.metrics import Metrics
from dtq_operator.resource import Resource, parse_resource
from dtq_operator.resync import Resync
from dtq_operator.scopes import Scopes
from dtq_operator.sync import Syncer

__all__ = ["EMAIL", "INVALID", "ApiServer", "Json", "kubeconfig", "names", "resync_of"]

Json = dict[str, Any]

WITHIN = "/apis/dtq.dev/v1/namespaces/{namespace}/scheduledjobs"
EMAIL = {"type": "email", "payload": {"to": "user@example.com", "subject": "s", "body": "b"}}


NAMES = {"name": "scheduledjobs", "singularName": "scheduledjob", "shortNames": ["schj"], "kind": "ScheduledJob", "categories": []}
DISCOVERY: dict[str, Json] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [{"name": "namespaces", "singularName": "namespace", "kind": "Namespace", "namespaced": False, "verbs": []}]},
    "/apis": {"groups": [{"name": "dtq.dev", "preferredVersion": {"version": "v1"}, "versions": [{"version": "v1"}]}]},
    "/apis/dtq.dev/v1": {"resources": [{**NAMES, "namespaced": True, "verbs": ["get", "list", "watch", "patch"]}]},
    "/openapi/v3/apis/dtq.dev/v1": {},
}

INVALID: Json = {"details": {"causes": [{"field": "status.activeCount", "message": "must be of type integer"}]}}
"""What it says of a status that the definition does not allow."""


def _answering(answer: Json) -> Any:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(answer)

    return handler


class ApiServer:
    """A small API server over HTTP: ScheduledJobs in memory, and answers that a test gives instead."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], Json] = {}
        self.refused: dict[tuple[str, str], tuple[int, Json]] = {}
        """What is answered instead, by method and namespace."""
        self.asked: list[tuple[str, str]] = []
        self.watching: dict[str, web.StreamResponse] = {}
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
        for path, answer in DISCOVERY.items():
            found.router.add_get(path, _answering(answer))
        found.router.add_get(WITHIN, self._list)
        found.router.add_get(WITHIN + "/{name}", self._get)
        found.router.add_patch(WITHIN + "/{name}/status", self._patch)
        found.router.add_post("/api/v1/namespaces/{namespace}/events", self._event)
        return found

    @web.middleware
    async def _answer_instead(self, request: web.Request, handler: Any) -> web.StreamResponse:
        asked = (request.method, request.match_info.get("namespace", ""))
        self.asked.append(asked)
        if asked in self.refused:
            status, body = self.refused[asked]
            return web.json_response(body, status=status)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _list(self, request: web.Request) -> web.StreamResponse:
        namespace = request.match_info["namespace"]
        if "watch" in request.query:
            return await self._watch(request, namespace)
        found = [body for key, body in self.resources.items() if key[0] == namespace]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": found})

    async def _watch(self, request: web.Request, namespace: str) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        self.watching[namespace] = answer
        await asyncio.Event().wait()
        return answer

    async def tell(self, resource: Resource) -> None:
        """Tell those who watch that it was made."""
        event = {"type": "ADDED", "object": self.resources[resource.key]}
        await self.watching[resource.namespace].write(json.dumps(event).encode() + b"\n")

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


def kubeconfig(url: str) -> Json:
    return {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "test"}}],
    }


async def names(schedules: ScheduleStore) -> set[str]:
    return {entry.name for entry in (await schedules.list())[0]}


def resync_of(api: Api, schedules: ScheduleStore, syncer: Syncer, scopes: Scopes) -> Resync:
    return Resync(api, schedules, syncer, Metrics(), "c", scopes, 60.0, "me")
