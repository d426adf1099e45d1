"""The submitting process of a peer in Python: ``python serve.py peer_NAME`` in the peer's environment.

It answers one line of JSON on stdout, with @@ before it, for each line on stdin: info, open, prepare, loaded, bulk {n},
seq {n}, fill {n, p}, one {i}, lat {n, log, seed}, drained {timeout}, rows. An adapter in another language speaks the
same lines (peer_bullmq.js, go/wire).
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import inspect
import json
import os
import random
import sys
import time
import traceback
from typing import Any

from base import Peer, spread

FACTS = (
    "broker", "delivery", "guarantee", "results", "worker_note", "bulk_note", "n", "slots", "samples", "recovers_after",
)  # fmt: skip


async def settle(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


async def latency(peer: Peer, n: int, log: str, seed: int) -> dict[str, Any]:
    """One job at a time to an idle worker, which records submission and start itself."""
    rng = random.Random(seed)
    expected = size(log)
    for i in range(n):
        await asyncio.sleep(rng.uniform(0.02, 0.08))  # random, so that no phase of a polling peer is favoured
        await settle(peer.one(i, time.monotonic()))
        expected += 24
        deadline = time.monotonic() + 20
        while size(log) < expected:
            if time.monotonic() > deadline:
                return {"n": i, "error": "job not seen in 20 s"}
            await asyncio.sleep(0.002)
    return {"n": n}


async def timed(peer: Peer, command: str, n: int) -> dict[str, float]:
    """Wall clock and CPU seconds of submitting n jobs."""
    cpu, start = time.process_time(), time.perf_counter()
    if command == "bulk":
        await settle(peer.bulk(n))
    else:
        for i in range(n):
            answer = peer.one(i, 0.0)
            if inspect.isawaitable(answer):
                await answer
    return {"n": n, "s": time.perf_counter() - start, "cpu": time.process_time() - cpu}


async def drained(peer: Peer, timeout_s: float) -> dict[str, float]:
    """Wait until the broker holds no job; how many are left, and when that was."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = await settle(peer.left())
        if not left or time.monotonic() > deadline:
            return {"left": left, "t": time.monotonic()}
        await asyncio.sleep(0.005)


async def run(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    command = request["cmd"]
    if command == "info":
        versions = {name: importlib.metadata.version(name) for name in peer.packages}
        commands = {"workers": [peer.worker(k) for k in (0, 1)], "helpers": peer.helpers()}
        return {fact: getattr(peer, fact) for fact in FACTS} | commands | {"versions": versions}
    if command in ("open", "prepare", "loaded"):
        await settle(getattr(peer, command)())
        return {}
    if command in ("bulk", "seq"):
        return await timed(peer, command, request["n"])
    if command == "fill":  # jobs that are never run: p, a text, takes the place of t
        await spread(lambda i: settle(peer.one(i, request["p"])), request["n"], 20)
        return {}
    if command == "one":
        await settle(peer.one(request["i"], time.monotonic()))
        return {}
    if command == "lat":
        return await latency(peer, request["n"], request["log"], request["seed"])
    if command == "drained":
        return await drained(peer, request["timeout"])
    if command == "rows":
        return {"rows": await settle(peer.rows()), "t": time.monotonic()}
    raise ValueError(command)


async def main() -> None:
    peer: Peer = importlib.import_module(sys.argv[1]).PEER
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await run(peer, json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to the runner, which goes on
            answer = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-2000:]}
        print("@@" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
