"""Wait until every child says that it is ready."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from dtq.errors import Unavailable
from dtq_standalone.console import Say
from dtq_standalone.plan import ChildSpec

__all__ = ["probe", "wait_ready"]

READY_SECONDS = 60.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs without the proxy that the environment may name."""
PATIENCE_SECONDS = 5.0
"""After so long we say what we are waiting for."""
POLL_SECONDS = 0.05


async def wait_ready(specs: Sequence[ChildSpec], say: Say, limit_s: float = READY_SECONDS) -> None:
    """Return when all probes answer 200.

    Raises:
        Unavailable: they do not within ``limit_s`` seconds; names the first that does not, and why.
    """
    started, told = time.monotonic(), PATIENCE_SECONDS
    for spec in specs:
        while spec.probe is not None and (problem := await asyncio.to_thread(probe, spec.probe)) is not None:
            waited = time.monotonic() - started
            if waited > limit_s:
                raise Unavailable(f"{spec.name} is not ready after {limit_s:g} s: {problem}")
            if waited > told:
                say(f"waiting for {spec.name}: {problem}")
                told *= 2
            await asyncio.sleep(POLL_SECONDS)


def probe(url: str) -> str | None:
    """None when the URL answers 200, else why it does not. Blocks, up to 3 seconds."""
    try:
        with _DIRECT.open(url, timeout=3):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return error.read(400).decode(errors="replace").strip() or f"HTTP {error.code}"
    except OSError as error:
        reason = getattr(error, "reason", error)
        return f"no answer at {url}: {getattr(reason, 'strerror', None) or reason}"
