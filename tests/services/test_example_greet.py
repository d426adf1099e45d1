"""The README's own job type runs as written there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from worker_bench import Bench

from dtq.registry import load_registry

EXAMPLES = Path(__file__).parents[2] / "examples"


async def test_the_example_runs_in_a_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    bench.registry = load_registry(["greet"], entry_points=False)
    await bench.worker()
    job = await bench.run("greet", {"name": "Ada"})
    assert job.state == "succeeded"
    assert json.loads(job.result or b"") == {"greeting": "Hello, Ada!", "job": job.id}
