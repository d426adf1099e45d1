"""A DTQ that really runs (`dtq up`, two workers, every kind of job) and a Prometheus that scrapes it.

As a program it stays for some minutes, for pictures: ``python tests/handlers/monitored_stack.py SECONDS`` prints Prometheus' URL.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import redis
import yaml
from prometheus_client import generate_latest

from dtq.embedded import free_port
from dtq_operator.metrics import Metrics as OperatorMetrics

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "charts" / "dtq" / "monitoring"
KUBE_STATE = ROOT / "tests" / "monitoring" / "kube-state-metrics.txt"
"""What a kube-state-metrics said of a real cluster: here is none."""

LABELS = {"namespace": "prod"}
"""Labels that a PodMonitor's targets have."""


class Prometheus:
    """A server's query API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant vector."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=20).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        return list(answer["data"]["result"])

    def has_data(self, expr: str) -> bool:
        """Whether some series has a number."""
        return any(series["value"][1] != "NaN" for series in self.query(expr))

    def rules(self) -> list[dict[str, Any]]:
        """Every rule and its state."""
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=20).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def wait_for(condition: Callable[[], bool], what: Callable[[], str], seconds: float) -> None:
    """Wait; fails with ``what()``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what()}"
        time.sleep(0.2)


@contextlib.contextmanager
def running_dtq(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Start one; its API's URL and where all its metrics are."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parent), "HANDLERS": "monitored_jobs"}
    environment |= {"APIADDR": "127.0.0.1:0", "DATADIR": str(folder / "data"), "WORKERS": "2", "RETRYBASE": "0.3", "SHUTDOWNSECONDS": "1"}
    command = [sys.executable, "-m", "dtq.cli", "up"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"ready at http://(\S+)", line):
                break
        else:
            raise AssertionError("`dtq up` did not start:\n" + "".join(lines))
        threading.Thread(target=lambda: [None for _ in process.stdout or ()], daemon=True).start()
        _limit_memory(folder)
        ports = json.loads((folder / "data" / "ports.json").read_text())
        others = [f"127.0.0.1:{ports[name]}" for name in ("scheduler", "worker-1", "worker-2")]
        yield f"http://{found[1]}", [found[1], *others]
    finally:
        process.terminate()
        process.wait(30)


def _limit_memory(folder: Path) -> None:
    address = re.search(r"REDISADDR='?([^'\n]+)", (folder / "data" / "env").read_text())
    assert address is not None
    with redis.Redis.from_url(address[1] if "://" in address[1] else f"redis://{address[1]}") as client:
        client.config_set("maxmemory", 256 * 1024 * 1024)


@contextlib.contextmanager
def serving(pages: dict[str, Callable[[], bytes]]) -> Iterator[str]:
    """Serve texts by path; where."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages[self.path]()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nobody wants to know."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scrape_config(dtq: list[str], pages: str, rules: Path) -> dict[str, Any]:
    """Prometheus' configuration: DTQ's processes as a PodMonitor labels them, the operator's metrics and kube-state-metrics' text."""
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "dtq", "static_configs": [{"targets": dtq, "labels": LABELS}]},
            {
                "job_name": "operator",
                "metrics_path": "/operator",
                "static_configs": [{"targets": [pages], "labels": {**LABELS, "job": "dtq"}}],
            },
            {
                "job_name": "kube-state-metrics",
                "metrics_path": "/kube-state-metrics",
                "honor_labels": True,
                "static_configs": [{"targets": [pages]}],
            },
        ],
    }


@contextlib.contextmanager
def running_prometheus(folder: Path, config: dict[str, Any]) -> Iterator[Prometheus]:
    """Start one."""
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/-/ready").status_code == 200
        return False

    try:
        wait_for(ready, lambda: "Prometheus is ready", 30)
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(30)


class Load:
    """Submits every kind of job, more and fewer of them, until stopped."""

    EMAIL: ClassVar[dict[str, Any]] = {
        "type": "email",
        "payload": {"to": "user@example.com", "subject": "Hello", "body": "Hello."},
        "queue": "mail",
    }

    def __init__(self, api: str, rate: float) -> None:
        """``rate``: jobs a second, on average."""
        # A connection for each request: one that idles while this machine is busy may be closed as a request is sent.
        self._http = httpx.Client(base_url=api, timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._fault: Exception | None = None

    def __enter__(self) -> Load:
        self._schedule()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._http.close()
        if self._fault is not None:
            raise self._fault

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as fault:  # noqa: BLE001 - told when the load is stopped
            self._fault = fault

    def _schedule(self) -> None:
        spec = {"schedule": "* * * * *", "jobTemplate": {"type": "report", "payload": {"seconds": 0.2}, "queue": "reports"}}
        for name in ("nightly-report", "tidy-up"):
            self._http.put(f"/schedules/{name}", json=spec).raise_for_status()
            self._http.post(f"/schedules/{name}/trigger").raise_for_status()

    def _run(self) -> None:
        started, turn, numbers = time.monotonic(), 0, itertools.count()
        while not self._stop.wait(0.5):
            wave = 1 + 0.8 * math.sin((time.monotonic() - started) / 40)
            jobs = [self._job(next(numbers)) for _ in range(max(4, round(self._rate * wave / 2)))]
            self._http.post("/submit/batch", json={"jobs": jobs}).raise_for_status()
            if turn % 10 == 0:
                self._cancel_one()
            turn += 1

    def _job(self, number: int) -> dict[str, Any]:
        kind = number % 20
        if kind < 8:
            return self.EMAIL
        if kind < 13:
            return {"type": "report", "payload": {"seconds": 0.1 + number % 7 / 10}, "queue": "reports"}
        if kind < 16:
            return {"type": "data_processing", "payload": {"sql": "SELECT sum(range) AS total FROM range(100000)"}, "queue": "reports"}
        if kind < 18:
            return {"type": "flaky", "payload": {"seconds": 0.05}}
        if kind == 18:
            return {"type": "report", "payload": {"seconds": 0.1}, "delay": 20, "queue": "reports"}
        return {"type": "broken", "payload": {}} if number % 40 == 19 else {"type": "flaky", "payload": {}}

    def _cancel_one(self) -> None:
        job = self._http.post("/submit", json={"type": "report", "payload": {"seconds": 50}, "priority": "high"}).json()["id"]
        wait_for(lambda: self._http.get(f"/jobs/{job}").json()["state"] == "running" or self._stop.is_set(), lambda: "it runs", 30)
        self._http.delete(f"/jobs/{job}")


@contextlib.contextmanager
def monitored(rate: float = 20.0) -> Iterator[Prometheus]:
    """All of it."""
    # Not in pytest's folder: it is closed to the account that PostgreSQL runs under when this runs as root.
    folder = Path(tempfile.mkdtemp(prefix="dtq-monitored-"))
    operator = OperatorMetrics()

    def operator_page() -> bytes:
        operator.reconciled("unchanged")
        operator.resynced(2)
        return generate_latest(operator.registry)

    rules = folder / "rules.yaml"
    rules.write_text((MONITORING / "rules.yaml").read_text("utf-8").replace("interval: 30s", "interval: 1s"))
    try:
        with (
            running_dtq(folder) as (api, targets),
            serving({"/operator": operator_page, "/kube-state-metrics": KUBE_STATE.read_bytes}) as pages,
            running_prometheus(folder, scrape_config(targets, pages, rules)) as prometheus,
            Load(api, rate),
        ):
            yield prometheus
    except BaseException:
        for path in sorted((folder / "data" / "logs").glob("*.log")):
            odd = [line for line in path.read_text().splitlines() if '"level":"info"' not in line]
            print(f"{path.name}: {odd[-20:]}")
        raise
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # by way of what ends the processes
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with monitored() as server:
        print(server.url, flush=True)
        time.sleep(float(sys.argv[1]))
