"""The probe server that worker and scheduler share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prometheus_client import CollectorRegistry, Gauge

from dtq.probe import Checks, ProbeServer, check_all


async def fine() -> None:
    return None


async def broken() -> None:
    raise ConnectionError("nobody there")


async def silent() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def serving(checks: Checks) -> AsyncIterator[httpx.AsyncClient]:
    registry = CollectorRegistry()
    Gauge("dtq_answer", "The answer.", registry=registry).set(42)
    server = ProbeServer("127.0.0.1:0", checks, registry)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    await server.close()


async def test_metrics_are_in_the_text_format() -> None:
    async with serving({}) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "dtq_answer 42.0" in answer.text


async def test_ready_when_every_check_passes() -> None:
    async with serving({"redis": fine, "postgresql": fine}) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_not_ready_names_what_is_not_and_why() -> None:
    async with serving({"redis": fine, "postgresql": broken}) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "failures": {"postgresql": "nobody there"}}


async def test_a_check_that_hangs_is_a_failure() -> None:
    assert await check_all({"redis": silent}, seconds=0.01) == {"redis": "no answer within 0.01 s"}


async def test_alive_whatever_the_checks_say() -> None:
    async with serving({"redis": broken}) as client:
        assert (await client.get("/livez")).status_code == 200


async def test_other_paths_and_methods() -> None:
    async with serving({}) as client:
        assert (await client.get("/other")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
        assert (await client.head("/livez")).content == b""


async def test_nonsense_does_not_stop_the_server() -> None:
    async with serving({}) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(b"\x16\x03\x01" + b"x" * 20_000)
        await writer.drain()
        writer.close()
        assert (await client.get("/livez")).status_code == 200
