"""DTQ's HTTP API through the ingress controller."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, Self

import httpx

__all__ = ["ENDS", "Api"]

ENDS = frozenset({"succeeded", "failed", "cancelled"})


class Api:
    """The API of one host behind the controller at ``url``; ``ca`` is the PEM of a certificate to trust for https.

    Several threads may share one. The controller's address stands in the URL and the host in the headers: no name service is needed.
    """

    def __init__(self, url: str, host: str, *, key: str | None = None, ca: str | None = None) -> None:
        headers = {"Host": host} | ({"Authorization": f"Bearer {key}"} if key else {})
        verify = ssl.create_default_context(cadata=ca) if ca else True
        self._client = httpx.Client(base_url=url, headers=headers, verify=verify, timeout=40, trust_env=False)
        self._extensions = {"sni_hostname": host} if url.startswith("https") else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request, such as ``request("GET", "/queues")``."""
        return self._client.request(method, path, extensions=dict(self._extensions), **options)

    def submit(self, type_: str, payload: dict[str, Any], **options: Any) -> str:
        """Submit a job that must be accepted; returns its id."""
        answer = self.request("POST", "/submit", json={"type": type_, "payload": payload, **options})
        assert answer.status_code == 202, f"POST /submit: {answer.status_code} {answer.text}"
        return str(answer.json()["id"])

    def ended(self, job: str, *, seconds: float = 60) -> dict[str, Any]:
        """Wait for a job's end; returns the job."""
        waited = 0.0
        while True:
            answer = self.request("GET", f"/jobs/{job}", params={"wait": 10})
            assert answer.status_code == 200, f"GET /jobs/{job}: {answer.status_code} {answer.text}"
            found: dict[str, Any] = answer.json()
            if found["state"] in ENDS:
                return found
            waited += 10
            assert waited < seconds, f"job {job} has not ended within {seconds:.0f} s: {found}"
