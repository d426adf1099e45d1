"""A release behind an Ingress, over http and https."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clusterkit.api import Api
from clusterkit.commands import run
from clusterkit.helm import Release
from clusterkit.kubectl import Json, Kubectl
from clusterkit.pods import mail_sink
from clusterkit.waiting import wait_for

__all__ = ["Front", "certificate", "open_front", "reachable"]


@dataclass(frozen=True)
class Front:
    """A release that clients reach by its host's name."""

    release: Release
    host: str
    ca: str
    """The certificate of https, PEM; it is its own authority."""
    values: Json
    """What the release was upgraded with."""
    api: Api
    """The API over http with the admin key."""

    def client(self, *, key: str | None = None, secure: bool = False) -> Api:
        """Another client: with another key or none, over https or http."""
        cluster = self.release.cluster
        return Api(cluster.https if secure else cluster.http, self.host, key=key, ca=self.ca if secure else None)


@contextlib.contextmanager
def open_front(release: Release) -> Iterator[Front]:
    """Upgrade a release so that it has an Ingress with TLS and a mail sink."""
    host = f"{release.kubectl.namespace}.test"
    ca = certificate(release.kubectl, "dtq-tls", host)
    values: Json = {
        "ingress": {"enabled": True, "host": host, "tls": {"enabled": True, "secretName": "dtq-tls"}},
        "smtp": {"addr": mail_sink(release.cluster, release.kubectl), "from": "dtq@example.com"},
        "submitter": {"preStopSeconds": 15},  # on a busy node the controller learns late that a pod is going
    }
    release.upgrade(values)
    with Api(release.cluster.http, host, key=release.api_key("admin")) as api:
        reachable(api, release.kubectl)
        yield Front(release, host, ca, values, api)


def reachable(api: Api, kubectl: Kubectl) -> None:
    """Wait until the ingress controller has learned of the host."""
    wait_for("the ingress leads to the API", lambda: api.request("GET", "/livez").status_code == 200, kubectl=kubectl)


def certificate(kubectl: Kubectl, secret: str, host: str) -> str:
    """Make a certificate for a host, put it into a TLS Secret, and return it as PEM."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert = Path(folder, "tls.key"), Path(folder, "tls.crt")
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        run(*new, "-subj", f"/CN={host[:64]}", "-addext", f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(cert))
        kubectl("create", "secret", "tls", secret, f"--key={key}", f"--cert={cert}")
        return cert.read_text()
