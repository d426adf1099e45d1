"""The few calls to the API server that kopf does not make: lists, status patches, events, discovery."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import kopf
import msgspec

from dtq.errors import ConfigError, DtqError, Unavailable
from dtq_operator.crd import OPENAPI
from dtq_operator.nesting import decode
from dtq_operator.resource import GROUP, PLURAL, VERSION, Resource

__all__ = ["Api", "ApiUnavailable", "Refusal", "kopf_session", "login"]

CONNECTIONS = 32
PAGE = 100
"""Resources in one page of a list."""

TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)

_AWAY = frozenset({401, 408, 429, 500, 502, 503, 504})


class ApiUnavailable(Unavailable):
    """The API server does not answer, or not now."""


class Refusal(DtqError):
    """The API server said no; ``status`` is the HTTP status, ``differs`` whether a JSON patch did not fit what is there."""

    def __init__(self, status: int, message: str, *, differs: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.differs = differs


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


class Credentials:
    """Gives every request our token, as it is in its file by then: a service account's is renewed within the hour."""

    SECONDS = 60.0
    """How long what was read is used."""

    def __init__(self, info: kopf.ConnectionInfo) -> None:
        self._headers = info.as_http_headers()
        self._read_at = time.monotonic()

    async def __call__(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Middleware of a session."""
        if time.monotonic() - self._read_at > self.SECONDS:
            with contextlib.suppress(ConfigError):
                self._headers = login().as_http_headers()
                self._read_at = time.monotonic()
        request.headers.update(self._headers)
        return await handler(request)


async def metadata_only(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Middleware: of resources, only their metadata is asked for."""
    if request.url.path.endswith(f"/{PLURAL}"):
        kind = "PartialObjectMetadata" if "watch" in request.url.query else "PartialObjectMetadataList"
        request.headers["Accept"] = f"application/json;as={kind};g=meta.k8s.io;v=v1"
    return await handler(request)


class KopfResponse(aiohttp.ClientResponse):
    """Gives kopf a list where the API server has null: so it writes an empty list of metadata, and kopf takes none for granted."""

    async def json(self, **options: Any) -> Any:
        """The body, cut where it is nested too deeply."""
        try:
            found = decode(await self.read())
        except msgspec.DecodeError:
            return await super().json(**options)
        if isinstance(found, dict) and "items" in found:
            found["items"] = found["items"] or []
        return found


def kopf_session() -> kopf.AiohttpSession:
    """The session that kopf uses. It learns that resources change, and never sees what is in them."""
    info = login()
    session = _session(info, metadata_only, limit=0, response=KopfResponse)
    return kopf.AiohttpSession(server=info.server, default_namespace=info.default_namespace, aiohttp_session=session)


def _session(
    info: kopf.ConnectionInfo,
    *middlewares: aiohttp.ClientMiddlewareType,
    limit: int = CONNECTIONS,
    response: type[aiohttp.ClientResponse] = aiohttp.ClientResponse,
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, ssl=info.as_ssl_context()),
        timeout=TIMEOUT,
        middlewares=(Credentials(info), *middlewares),
        response_class=response,
    )


class Api:
    """One API server. Every method raises :class:`ApiUnavailable` when it does not answer, :class:`Refusal` when it says no."""

    def __init__(self, info: kopf.ConnectionInfo) -> None:
        """``info``: what :func:`login` found."""
        self._server = info.server.rstrip("/")
        self._session = _session(info)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

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

    async def patch_status(self, resource: Resource, operations: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Apply a JSON patch to the status; the resource as it is then, None if it is not as the patch expects, or gone."""
        path = f"{_path(resource.namespace)}/{resource.name}/status"
        return await self._or_none("PATCH", path, body=operations, kind="application/json-patch+json", gone=(404, 409))

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
            if error.status in gone or error.differs:
                return None
            raise

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        kind: str = "application/json",
    ) -> dict[str, Any]:
        data = None if body is None else msgspec.json.encode(body)
        with _translated(self._server):
            request = self._session.request(method, self._server + path, params=params, data=data, headers={"Content-Type": kind})
            async with request as answer:
                content = await answer.read()
        return _checked(answer.status, content)


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
        answer = decode(content)
    except msgspec.DecodeError:
        answer = None
    if status < 300 and isinstance(answer, dict):
        return answer
    message = answer.get("message") if isinstance(answer, dict) else None
    text = f"the API server answers {status}: {message or content[:200].decode('utf-8', 'replace')}"
    if status in _AWAY or status < 300:
        raise ApiUnavailable(text)
    raise Refusal(status, text, differs=status == 422 and not _causes(answer))


def _causes(answer: object) -> object:
    """What is wrong with each field of an object. Of a patch that does not fit, which is 422 as well, there is none."""
    details = answer.get("details") if isinstance(answer, dict) else None
    return details.get("causes") if isinstance(details, dict) else None
