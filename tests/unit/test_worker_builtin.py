"""The handlers that every worker has."""

from __future__ import annotations

import subprocess
import sys

from dtq.jobs import BUILTIN
from dtq.registry import load_registry
from dtq_worker.main import BUILTIN_MODULES


def test_each_built_in_type_has_a_handler_that_can_be_imported() -> None:
    registry = load_registry(BUILTIN_MODULES, entry_points=False)
    assert {name: found.job_type for name, found in registry.handlers.items()} == {known.name: known for known in BUILTIN}
    registry.check_handlers()
    for module in registry.handler_modules:
        __import__(module)


def test_a_worker_does_not_load_what_only_its_processes_need() -> None:
    """Each of these is some megabytes of an idle worker."""
    code = "import sys, dtq_worker.main as main; main.load_registry(main.BUILTIN_MODULES); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"duckdb", "PIL", "httpx"}.isdisjoint(done.stdout.split())
    assert "dtq_worker.pool" in done.stdout.split()
