"""Serves the external metric dtq_queue_demand to HorizontalPodAutoscalers, as prometheus-adapter does from what Prometheus has scraped.

Here the scheduler's /metrics is asked directly at each request. Runs in a pod of DTQ's scheduler image. Environment: METRICSURL; CERT and
KEY, PEM; PORT.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client.parser import text_string_to_metric_families

METRIC = "dtq_queue_demand"
VERSION = "external.metrics.k8s.io/v1beta1"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": VERSION,
    "resources": [{"name": METRIC, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}],
}


def selected(selector: str) -> set[str]:
    """The queues of a label selector such as ``queue in (a,b)``."""
    found = re.fullmatch(r"queue in \(([^()]*)\)", selector)
    if not found:
        raise ValueError(f"not a selector of queues: {selector!r}")
    return set(found[1].split(","))


def demands() -> dict[str, float]:
    """What the scheduler exports, by queue."""
    with urllib.request.urlopen(os.environ["METRICSURL"], timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {sample.labels["queue"]: sample.value for family in families if family.name == METRIC for sample in family.samples}


def values(queues: set[str]) -> dict[str, Any]:
    """An ExternalMetricValueList; a queue without a series has no item."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = [
        {"metricName": METRIC, "metricLabels": {"queue": queue}, "timestamp": now, "value": str(int(demand))}
        for queue, demand in demands().items()
        if queue in queues
    ]
    return {"kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {}, "items": items}


class Handler(BaseHTTPRequestHandler):
    """The two paths that Kubernetes asks."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Discovery, or values."""
        url = urlsplit(self.path)
        if url.path == f"/apis/{VERSION}":
            self._answer(200, RESOURCES)
        elif re.fullmatch(f"/apis/{VERSION}/namespaces/[^/]+/{METRIC}", url.path):
            try:
                self._answer(200, values(selected(parse_qs(url.query)["labelSelector"][0])))
            except (OSError, ValueError, KeyError) as error:
                self._answer(503, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": repr(error), "code": 503})
        else:
            self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve for ever."""
    both = Path("/tmp/tls.pem")
    both.write_text(os.environ["KEY"] + os.environ["CERT"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server = ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
