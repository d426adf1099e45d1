"""What every request passes first, in plain ASGI: its origin and key, the hot paths, counting, and the last resort for errors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dtq_submitter.access import check, presented_key, role_for
from dtq_submitter.body import Disconnected
from dtq_submitter.keyfile import KeyFile
from dtq_submitter.metrics import Metrics
from dtq_submitter.origin import foreign_host, foreign_page
from dtq_submitter.problems import MEDIA_TYPE, Problem, problem_of
from dtq_submitter.submit import Answer

__all__ = ["Front", "HotEndpoint", "send_problem"]

HotEndpoint = Callable[[Scope, Receive], Awaitable[Answer]]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_log = structlog.get_logger("dtq.submitter")


async def send_problem(problem: Problem, path: str, send: Send) -> None:
    """Answer with a problem document."""
    extra = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in problem.headers.items()]
    await _send(send, problem.status, problem.body(path), MEDIA_TYPE.encode(), extra)


async def _send(send: Send, status: int, body: bytes, kind: bytes, extra: list[tuple[bytes, bytes]]) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Front:
    """Answers the hot paths itself and hands everything else on."""

    def __init__(
        self, app: ASGIApp, hot: Mapping[str, HotEndpoint], keys: KeyFile | None, metrics: Metrics, *, local: bool = False
    ) -> None:
        """``hot``: endpoints of POST by path. ``keys`` None: no key is needed. ``local``: Host must be this machine."""
        self._app = app
        self._hot = dict(hot)
        self._keys = keys
        self._metrics = metrics
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the app's lifespan."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        if refused := self._refused(scope):
            self._metrics.answered(_known(method), "refused", refused.status)
            await send_problem(refused, path, send)
            return
        endpoint = self._hot.get(path)
        if endpoint is None:
            await self._pass_on(scope, receive, send)
        elif method == "POST":
            await self._serve(endpoint, scope, receive, send)
        else:
            self._metrics.answered(_known(method), path, 405)
            await send_problem(Problem(405, "wrong-method", f"{path} takes POST", headers={"Allow": "POST"}), path, send)

    def refused(self, status: int) -> None:
        """Count an answer that was given before there was a request."""
        self._metrics.answered("other", "refused", status)

    def _refused(self, scope: Scope) -> Problem | None:
        headers = scope["headers"]
        if (refused := foreign_page(scope["method"], headers)) or (self._local and (refused := foreign_host(headers))):
            return refused
        role = None if self._keys is None else role_for(scope["method"], scope["path"])
        if self._keys is None or role is None:
            return None
        presented = presented_key(headers)
        return check(self._keys.find(presented) if presented else None, bool(presented), role)

    async def _serve(self, endpoint: HotEndpoint, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        started = time.perf_counter()
        try:
            status, body, extra = await endpoint(scope, receive)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - each becomes a problem document
            problem = self._explain(error, path)
            self._metrics.answered("POST", path, problem.status)
            await send_problem(problem, path, send)
            return
        self._metrics.answered("POST", path, status)
        self._metrics.took(path, time.perf_counter() - started)
        await _send(send, status, body, b"application/json", extra)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, complete = 0, False

        async def watch(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Disconnected:
            status = 0  # whatever was written, nobody reads it
        except Exception as error:
            problem = self._explain(error, scope["path"])
            if status and not complete:
                raise  # the answer has begun: only breaking the connection off tells the client
            if not status:
                status = problem.status
                await send_problem(problem, scope["path"], send)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            if status:
                self._metrics.answered(_known(scope["method"]), route, status)

    def _explain(self, error: Exception, path: str) -> Problem:
        problem = problem_of(error)
        if problem.kind == "internal":
            _log.error("request_failed", path=path[:200], exc_info=error)
        return problem


def _known(method: str) -> str:
    """Methods are the caller's words; a label must not be."""
    return method if method in _METHODS else "other"
