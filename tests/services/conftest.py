"""Fixtures of the services' tests. tests/handlers holds job types and helpers that test processes import by name."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtq.storage import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "handlers"))

if TYPE_CHECKING:
    from worker_bench import Bench


@pytest.fixture
def log_capture() -> Iterator[None]:
    """What dtq_worker.main sets up: log lines of handlers go to their attempt."""
    from dtq_worker.slots import LogCapture

    capture = LogCapture()
    logging.getLogger().addHandler(capture)
    yield
    logging.getLogger().removeHandler(capture)


@pytest.fixture
async def bench(redis_url: str, pg_dsn: str, store: Store, tmp_path: Path, log_capture: None) -> AsyncIterator[Bench]:
    """A queue, a store, and workers on them."""
    from worker_bench import open_bench

    async with open_bench(redis_url, pg_dsn, store, tmp_path) as found:
        yield found
