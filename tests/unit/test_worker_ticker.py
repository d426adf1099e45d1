"""The timer that ends handlers' short sleeps on time."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from dtq.config import Settings
from dtq.queue.claims import ClaimedJob
from dtq.registry import JobType, Registry, handler
from dtq_worker import ticker
from dtq_worker.executor import Executor
from dtq_worker.ticker import Ticker, should_ring

linux = pytest.mark.skipif(sys.platform != "linux", reason="the timer is Linux' own")


@pytest.mark.parametrize(
    ("ended", "seconds", "runners", "expected"),
    [
        (49, 0.05, 10, False),
        (50, 0.05, 10, True),
        (499, 0.05, 10, True),
        (500, 0.05, 10, False),
        (50, 0.1, 10, False),
        (400, 0.05, 1, False),  # handlers that never wait
        (0, 0.05, 10, False),
    ],
)
def test_it_rings_for_many_short_jobs_alone(ended: int, seconds: float, runners: int, expected: bool) -> None:
    assert should_ring(ended, seconds, runners) is expected


@linux
async def test_it_rings_until_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    rings = 0
    enough = asyncio.Event()
    take = ticker._take

    def count(timer: int) -> None:
        nonlocal rings
        rings += 1
        take(timer)
        if rings == 5:
            enough.set()

    monkeypatch.setattr(ticker, "_take", count)
    one = Ticker()
    one.turn(on=False)
    one.turn(on=True)
    one.turn(on=True)
    await asyncio.wait_for(enough.wait(), 60)
    timer = one._timer
    assert timer is not None
    one.turn(on=False)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(timer)
    seen = rings
    await asyncio.sleep(0.02)
    assert rings == seen


async def test_a_system_without_such_a_timer_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def nothing(*_: Any, **__: Any) -> Any:
        nonlocal asked
        asked += 1
        raise OSError("no library")

    monkeypatch.setattr("ctypes.CDLL", nothing)
    one = Ticker()
    for _ in range(3):
        one.turn(on=True)
    assert (one.on, asked) == (False, 1)
    one.turn(on=False)


class Nothing(BaseModel):
    pass


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)


@linux
async def test_a_worker_with_short_sleeps_turns_it_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "RATES", range(1, 10_000))  # a slow machine's, too
    job_type = JobType("nap", Nothing)

    @handler(job_type)
    async def nap(_payload: Nothing, _ctx: object) -> None:
        await asyncio.sleep(0.001)

    registry = Registry()
    registry.add_type(job_type, "here")
    registry.add_handler(nap, "here")
    feeding, number = True, 0

    def feed(*_: object) -> None:
        nonlocal number
        if feeding:
            number += 1
            executor.start([ClaimedJob(f"{number}", "default", "nap", b"{}", "n", f"{number}-0", 1)])

    executor = Executor(Settings(workercount=5), registry, None, SimpleNamespace(report=None), feed)  # type: ignore[arg-type]
    for _ in range(5):
        feed()
    async with asyncio.timeout(60):
        await _until(lambda: executor._ticker.on)
        feeding = False
        await _until(lambda: not executor._ticker.on)
    assert executor.active == {}
    await executor.close()
