"""A system's submitting process and its workers: started, asked and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from peers.processes import end
from peers.systems import System

ADAPTERS = Path(__file__).resolve().parent / "adapters"


class Failed(Exception):
    """One measurement failed; the system goes on with the next."""


class Dead(Exception):
    """The submitting process gives no answer: the system's turn ends."""


def read_answer(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    """The next line of JSON after @@; other lines, such as a library's print, are passed over."""
    found: list[dict[str, Any]] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("@@"):
                found.append(json.loads(line[2:]))
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout_s)
    if not found:
        raise Dead(f"no answer in {timeout_s:g} s (exit code {process.poll()})")
    if "error" in found[0]:
        raise Failed(found[0]["error"] + "\n" + found[0].get("trace", ""))
    return found[0]


class Submitter:
    """Speaks the lines of adapters/serve.py with a system's submitting process. ``slots`` 0 is the adapter's own choice."""

    def __init__(self, name: str, system: System, root: Path, servers: dict[str, str], logs: Path, slots: int = 0) -> None:
        self.name = name
        self._logs = logs
        self._environment = {
            **os.environ, **servers, "BENCH_VARIANT": system.variant, "BENCH_CONCURRENCY": str(slots), "PEERS_DIR": str(root),
            "PYTHONPATH": str(ADAPTERS), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self._errors = (logs / f"{name}.submit.log").open("w")
        self._process = subprocess.Popen(
            command_of(system, root), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=self._environment, cwd=ADAPTERS, start_new_session=True,
        )  # fmt: skip

    def ask(self, command: str, wait: float = 60, **values: Any) -> dict[str, Any]:
        """Send a command and return its answer. Raises Failed when it failed there, Dead when nobody answers."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"cmd": command, **values}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Dead(f"the submitting process has ended ({self._process.poll()})") from None
        try:
            return read_answer(self._process, wait)
        except Dead:
            end(self._process, 0)  # an answer that came later would be taken for that of the next command
            raise

    def start_worker(self, argv: list[str], k: int, records: Path, nap_ms: float = 0) -> subprocess.Popen[bytes]:
        """Start worker process ``k``."""
        environment = {**self._environment, "BENCH_LOG": str(records), "BENCH_WORKER": str(k), "BENCH_NAP_MS": f"{nap_ms:g}"}
        with (self._logs / f"{self.name}.worker.log").open("a") as log:
            return subprocess.Popen(
                argv, env=environment, cwd=ADAPTERS, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start_helpers(self, info: dict[str, Any], records: Path) -> list[subprocess.Popen[bytes]]:
        """Start what runs beside the workers; most systems have nothing such."""
        return [self.start_worker(argv, -1, records) for argv in info.get("helpers", [])]

    def close(self) -> None:
        end(self._process, 2)
        self._errors.close()


def command_of(system: System, root: Path) -> list[str]:
    """How a system's submitting process is started."""
    folder = root / system.environment
    if system.adapter.endswith(".js"):
        return ["node", str(ADAPTERS / system.adapter)]
    if system.adapter.endswith(".go"):
        return [str(folder / "bin" / system.adapter.removesuffix(".go"))]
    python = str(folder / "bin/python") if system.environment else sys.executable
    return [python, str(ADAPTERS / "serve.py"), system.adapter]
