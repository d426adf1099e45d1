"""Failures for which nobody waits any more."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest
import uvloop

from dtq_operator.lookups import take_failed_lookups


async def _abandon(failure: Exception) -> None:
    loop = asyncio.get_running_loop()
    take_failed_lookups(loop)
    future = loop.create_future()
    future.set_exception(failure)
    del future
    gc.collect()


def test_an_abandoned_look_up_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    uvloop.run(_abandon(socket.gaierror(-2, "Name or service not known")))
    assert caplog.records == []


def test_every_other_failure_is(caplog: pytest.LogCaptureFixture) -> None:
    uvloop.run(_abandon(OSError("something else")))
    assert [record.getMessage().partition("\n")[0] for record in caplog.records] == ["Future exception was never retrieved"]
