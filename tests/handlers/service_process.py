"""The services as processes of their own, each with its log in a file, for tests that attack them from outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from dtq.embedded import free_port


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for a condition; a server that does not answer yet has not met it."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


class Service:
    """A running ``python -m dtq_<name>``; ``url`` is where it serves HTTP."""

    def __init__(self, name: str, folder: Path, settings: dict[str, Any]) -> None:
        addr = f"127.0.0.1:{free_port()}"
        self.url = f"http://{addr}"
        self.name = name
        settings = dict(settings)
        self._log = folder / f"{name}-{addr.rpartition(':')[2]}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent), str(settings.pop("PYTHONPATH", "")), os.environ.get("PYTHONPATH", "")]
            ),
            "APIADDR": addr,
            "METRICSADDR": addr,
            **{key: str(value) for key, value in settings.items()},
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", f"dtq_{name}"], env=environment, cwd=folder, stdout=log, stderr=log)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def events(self) -> list[dict[str, Any]]:
        """Its log; a line that is not JSON comes as ``{"text": line}``."""
        found = []
        for line in self._log.read_text("utf-8", "replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"text": line})
        return found

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None


@contextlib.contextmanager
def services(*names: str, folder: Path, **settings: Any) -> Iterator[list[Service]]:
    """Start services with these settings, and wait until each answers; all are killed at the end."""
    started: list[Service] = []
    try:
        started.extend(Service(name, folder, settings) for name in names)
        for service in started:
            until(lambda service=service: _answers(service), f"{service.name} answers")  # type: ignore[misc]
        yield started
    finally:
        for service in started:
            service.process.kill()
            service.process.wait()


def _answers(service: Service) -> bool:
    assert service.alive(), f"{service.name} ended: {service.events()}"
    return httpx.get(f"{service.url}/livez", timeout=10).status_code == 200
