"""Schemathesis against the OpenAPI document, on running services: no 5xx, and no answer that the document does not have.

``CASES=20000 pytest -s tests/security/test_schemathesis.py`` is the long form: so many requests without keys, and again
with keys. It prints their number, and takes a quarter of an hour for each on two cores.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_process import Service, services

from dtq.apikeys import ApiKey, new_key
from dtq.embedded import PostgresServer, ValkeyServer
from dtq.storage.migrate import migrate

HERE = Path(__file__).parent
HANDLERS = HERE.parent / "handlers"
CASES = int(os.environ.get("CASES", "0"))
FEWEST = 400
"""Requests of the short form, at least: those that are not made up by chance are so many alone."""
SECONDS = 240 + CASES // 4
EXAMPLES = max(2, CASES // 15)
"""Requests made up for each operation; the phases stateful and coverage add theirs."""

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Servers of its own: a run leaves thousands of jobs, queues and schedules behind."""
    data = Path(tempfile.mkdtemp(prefix="dtq-pg-"))  # not in pytest's folder: it is closed to PostgreSQL's account
    valkey = ValkeyServer(tmp_path_factory.mktemp("schemathesis-valkey"), durable=False)
    postgres = PostgresServer(data, settings={"fsync": "off", "full_page_writes": "off"})
    try:
        valkey.start()
        postgres.start()
        migrate(postgres.url)
        yield {
            "REDISADDR": valkey.url,
            "DATABASEURL": postgres.url,
            "SMTPADDR": "127.0.0.1:1",
            "RETRYBASE": 0.2,
            "RETRYCAP": 1,
            "PYTHONPATH": HANDLERS / "loopback",  # jobs are told to fetch from whatever addresses
        }
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(data, ignore_errors=True)


def attack(api: Service, folder: Path, *options: str) -> int:
    """Run it; returns how many requests it has made."""
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{api.url}/openapi.json", "--max-examples", str(EXAMPLES), "--generation-deterministic"]
    command += ["--continue-on-failure", "--suppress-health-check", "all", "--request-timeout", "60", *options]
    environment = {**os.environ, "PYTHONPATH": str(HANDLERS)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{done.stdout[-20000:]}\n{done.stderr[-2000:]}"
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None, done.stdout[-2000:]
    print(f"\nschemathesis {' '.join(options)[:12]}: {found[1]} cases")
    return int(found[1])


def check_afterwards(running: list[Service]) -> None:
    """No service has ended, and none has met a fault that it did not foresee."""
    for service in running:
        assert service.alive(), service.name
        bad = [
            event for event in service.events() if event.get("level") in ("error", "critical") or "text" in event or "exception" in event
        ]
        assert bad == [], (service.name, json.dumps(bad[:3])[:4000])
    api = running[0]
    assert httpx.get(f"{api.url}/readyz", timeout=60).json()["status"] == "ready"


def test_without_keys(stand: dict[str, Any], tmp_path: Path) -> None:
    with services("submitter", "worker", "scheduler", folder=tmp_path, **stand) as running:
        phases = () if CASES else ("--phases", "examples,coverage,fuzzing")  # the short form has the last one with keys
        assert attack(running[0], tmp_path, *phases) >= max(FEWEST, CASES)
        check_afterwards(running)


def test_with_keys(stand: dict[str, Any], tmp_path: Path) -> None:
    """Here every operation is also tried without a key, and with a wrong one."""
    key, digest = new_key()
    (tmp_path / "keys").write_text(f"{ApiKey('all', 'admin', digest)}\n")
    with services("submitter", "worker", "scheduler", folder=tmp_path, APIKEYSFILE=tmp_path / "keys", **stand) as running:
        phases = () if CASES else ("--phases", "fuzzing,stateful")
        assert attack(running[0], tmp_path, "--header", f"Authorization: Bearer {key}", *phases) >= (CASES or 50)
        check_afterwards(running)
