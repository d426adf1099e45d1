"""The few calls to the API server that kopf does not make: lists, status patches, events, discovery."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import kopf
import msgspec

from dtq.errors import ConfigError, DtqError, Unavailable
from dtq_operator.crd import OPENAPI
from dtq_operator.resource import GROUP, PLURAL, VERSION, Resource

__all__ = ["Api", "ApiUnavailable", "Refusal", "login"]

CONNECTIONS = 32
PAGE = 200
"""Resources in one page of a list."""

TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)

LOGIN_SECONDS = 300.0
"""Credentials are read again so often: a service account's token is renewed in its file within the hour."""

_AWAY = frozenset({408, 429, 500, 502, 503, 504})

_decode = msgspec.json.Decoder().decode


class ApiUnavailable(Unavailable):
    """The API server does not answer, or not now."""


class Refusal(DtqError):
    """The API server said no; ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def login() -> kopf.ConnectionInfo:
    """Where the API server is and who we are: by the pod's service account, else by KUBECONFIG.

    Raises:
        ConfigError: there is neither.
    """
    settings = kopf.OperatorSettings()
    try:
        found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    except (OSError, KeyError, kopf.LoginError) as error:
        raise ConfigError(f"KUBECONFIG: cannot be used: {error!r}") from error
    if found is None:
        raise ConfigError("no cluster: run in a pod with a service account, or set KUBECONFIG")
    return found


class Api:
    """One API server. Every method raises :class:`ApiUnavailable` when it does not answer, :class:`Refusal` when it says no."""

    def __init__(self) -> None:
        self._info: kopf.ConnectionInfo | None = None
        self._session: aiohttp.ClientSession | None = None
        self._server = ""
        self._read_at = 0.0

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A resource, None if there is none."""
        return await self._or_none("GET", f"{_path(namespace)}/{name}")

    async def pages(self, namespace: str | None) -> AsyncIterator[list[dict[str, Any]]]:
        """All resources of a namespace (None: of the cluster), page by page. It raises rather than leave something out."""
        following = ""
        while True:
            answer = await self._request("GET", _path(namespace), params={"limit": str(PAGE), "continue": following})
            yield answer["items"]
            following = answer["metadata"].get("continue") or ""
            if not following:
                return

    async def patch_status(self, resource: Resource, status: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge into the status; the resource as it is then, None if it is gone or another one has its name."""
        body = {"metadata": {"uid": resource.uid}, "status": status}
        path = f"{_path(resource.namespace)}/{resource.name}/status"
        return await self._or_none("PATCH", path, body=body, kind="application/merge-patch+json", gone=(404, 409, 422))

    async def create_event(self, event: Mapping[str, Any]) -> bool:
        """Post an event; False if it is there already, or its namespace is ending."""
        path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        try:
            await self._request("POST", path, body=event)
        except Refusal as error:
            if error.status in (404, 409) or "being terminated" in str(error):
                return False
            raise
        return True

    async def openapi(self) -> dict[str, Any] | None:
        """The served schema of our group, None if the group is not there."""
        return await self._or_none("GET", OPENAPI)

    async def ping(self, namespace: str | None) -> None:
        """Return when resources can be listed."""
        await self._request("GET", _path(namespace), params={"limit": "1"})

    # ------------------------------------------------------------------

    async def _or_none(self, method: str, path: str, *, gone: tuple[int, ...] = (404,), **options: Any) -> dict[str, Any] | None:
        try:
            return await self._request(method, path, **options)
        except Refusal as error:
            if error.status in gone:
                return None
            raise

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
    ) -> dict[str, Any]:
        for attempt in (1, 2):
            session, server = await self._connected()
            data = None if body is None else msgspec.json.encode(body)
            with _translated(server):
                async with session.request(method, server + path, params=params, data=data, headers={"Content-Type": kind}) as answer:
                    content = await answer.read()
            if answer.status == 401 and attempt == 1:
                self._read_at = 0.0  # the token has run out
                continue
            return _checked(answer.status, content)
        raise AssertionError("unreachable")

    async def _connected(self) -> tuple[aiohttp.ClientSession, str]:
        if self._session is None or time.monotonic() - self._read_at > LOGIN_SECONDS:
            info = login()
            self._read_at = time.monotonic()
            if self._session is None or info != self._info:
                old, self._session = self._session, _session(info)
                self._info, self._server = info, info.server.rstrip("/")
                if old is not None:
                    # Requests under way end with it first.
                    asyncio.get_running_loop().call_later(TIMEOUT.total or 0, lambda: asyncio.ensure_future(old.close()))
        return self._session, self._server


def _session(info: kopf.ConnectionInfo) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=info.as_ssl_context())
    return aiohttp.ClientSession(connector=connector, headers=info.as_http_headers(), timeout=TIMEOUT)


def _path(namespace: str | None) -> str:
    within = "" if namespace is None else f"/namespaces/{namespace}"
    return f"/apis/{GROUP}/{VERSION}{within}/{PLURAL}"


@contextlib.contextmanager
def _translated(server: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ApiUnavailable(f"the API server at {server} does not answer: {str(error) or type(error).__name__}") from error


def _checked(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = _decode(content)
    except (msgspec.DecodeError, RecursionError):
        answer = None
    if status < 300 and isinstance(answer, dict):
        return answer
    message = answer.get("message") if isinstance(answer, dict) else None
    text = f"the API server answers {status}: {message or content[:200].decode('utf-8', 'replace')}"
    if status in _AWAY or status < 300:
        raise ApiUnavailable(text)
    raise Refusal(status, text)
