"""The real queue as the state machine sees it: blocking calls, one look at everything there is, and time that can be moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import redis
from queue_model import DEAD, GRACE, IDEMPOTENCY, LANES, LEASE, LIMIT, RESULT, UNIT_MS

from dtq.config import Settings
from dtq.ids import make_id
from dtq.job import TerminalJob
from dtq.queue import Queue, keys
from dtq.queue.claims import Claims, Finish

T = TypeVar("T")


@dataclass(frozen=True)
class Raw:
    """Everything that Redis holds of one queue, except the jobs' texts."""

    waiting: dict[str, list[str]]
    running: dict[str, list[tuple[str, str]]]
    delayed: list[tuple[str, int]]
    workers: dict[str, int]
    idle: dict[str, int]
    boxes: dict[str, int]
    tokens: int
    paused: bool
    cancels: set[str]
    dead: set[str]
    outbox: list[tuple[str, list[TerminalJob]]]
    ticks: dict[str, int]


class System:
    """A server, or a cluster, at ``urls`` (the first is connected to)."""

    def __init__(self, urls: Sequence[str], end: Callable[..., Finish]) -> None:
        self.end = end
        self._urls = urls
        self._runner = asyncio.Runner()
        units = {"resultttl": RESULT, "deadttl": DEAD, "idempotencyttl": IDEMPOTENCY, "leaseseconds": 2 * GRACE}
        updates = {name: number * UNIT_MS // 1000 for name, number in units.items()}
        settings = Settings(redisaddr=urls[0]).model_copy(update={**updates, "maxqueuelength": LIMIT})
        self.queue = self.run(Queue.connect(settings))
        self.cluster = self.queue.cluster
        self._claims: list[Claims] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def reset(self) -> None:
        """An empty server, and a queue that remembers nothing."""
        for claims in self._claims:
            self.run(claims.close())
        self._claims = []
        for url in self._urls:
            with redis.Redis.from_url(url) as client:
                client.flushall()
        self.queue = Queue(self.queue.client, self.queue.settings, cluster=self.cluster)

    def close(self) -> None:
        self.reset()
        self.run(self.queue.close())
        self._runner.close()

    def worker(self, name: str) -> Claims:
        claims = Claims(self.queue.client, name, LEASE * UNIT_MS, RESULT * UNIT_MS, DEAD * UNIT_MS)
        self._claims.append(claims)
        return claims

    # ------------------------------------------------------------------ looking

    def raw(self, name: str, workers: Sequence[str]) -> Raw:
        return self.run(self._raw(name, workers))

    async def _raw(self, name: str, workers: Sequence[str]) -> Raw:
        pipe = self.queue.client.pipeline(transaction=False)
        for lane in LANES:
            pipe.xrange(keys.lane(name, lane))
            pipe.xpending_range(keys.lane(name, lane), keys.GROUP, "-", "+", 1000)
        for key in (keys.delayed(name), f"{keys.prefix(name)}:workers", keys.idle(name)):
            pipe.zrange(key, 0, -1, withscores=True)
        pipe.llen(keys.wake(name))
        pipe.exists(keys.paused(name))
        pipe.hkeys(keys.cancels(name))
        pipe.zrange(keys.dead(name), 0, -1)
        pipe.xrange(keys.outbox(name))
        pipe.hgetall(f"{keys.prefix(name)}:ticks")
        for worker in workers:
            pipe.llen(keys.box(name, worker))
        found = await pipe.execute(raise_on_error=False)
        delayed, leases, idle, tokens, paused, cancels, dead, outbox, ticks, *boxes = found[2 * len(LANES) :]
        waiting, running = _streams(name, found)
        return Raw(
            waiting,
            running,
            [(member.decode(), int(score)) for member, score in delayed],
            {member.decode(): int(score) for member, score in leases},
            {member.decode(): int(score) for member, score in idle},
            {worker: length for worker, length in zip(workers, boxes, strict=True) if length},
            tokens,
            bool(paused),
            {field.decode() for field in cancels},
            {member.decode() for member in dead},
            [(entry.decode(), msgspec.json.decode(fields[b"r"], type=list[TerminalJob])) for entry, fields in outbox],
            {uid.decode(): int(tick) for uid, tick in ticks.items()},
        )

    def consumers(self, name: str) -> set[tuple[str, str]]:
        """(lane, worker) of every member of the queue's consumer groups."""

        async def ask() -> set[tuple[str, str]]:
            found = set()
            for lane in LANES:
                if await self.queue.client.exists(keys.lane(name, lane)):
                    groups = await self.queue.client.xinfo_groups(keys.lane(name, lane))
                    for item in await self.queue.client.xinfo_consumers(keys.lane(name, lane), keys.GROUP) if groups else []:
                        found.add((lane, item["name"].decode()))
            return found

        return self.run(ask())

    def keys(self) -> dict[str, int]:
        """Every key on the server to its time to live in ms, -1 for none."""

        async def ask() -> dict[str, int]:
            found = [raw async for raw in self.queue.client.scan_iter(count=1000)]
            return {raw.decode(): await self.queue.client.pttl(raw) for raw in found}

        return self.run(ask())

    def length(self, key: str) -> int:
        """Of a stream."""

        async def ask() -> int:
            return int(await self.queue.client.xlen(key))

        return self.run(ask())

    # ------------------------------------------------------------------ what a blocking read does

    def pop(self, key: str) -> bytes | None:
        async def ask() -> bytes | None:
            found: bytes | None = await self.queue.client.lpop(key)
            return found

        return self.run(ask())

    # ------------------------------------------------------------------ time

    def pass_time(self, units: int, names: Sequence[str]) -> None:
        """Move all that the scripts compare with the server's clock into the past, as if so much time had passed."""
        self.run(self._pass_time(units * UNIT_MS, names))

    async def _pass_time(self, shift: int, names: Sequence[str]) -> None:
        client = self.queue.client
        for name in names:
            for key in (keys.delayed(name), f"{keys.prefix(name)}:workers", keys.idle(name), keys.dead(name)):
                for member, score in await client.zrange(key, 0, -1, withscores=True):
                    if score:  # 0 marks a worker that has left
                        await client.zincrby(key, -shift, member)
            for member in await client.zrange(keys.delayed(name), 0, -1):
                await client.hincrby(keys.record(name, member.decode()), "due", -shift)
            asked = await client.get(f"{keys.prefix(name)}:reclaim")
            if asked:
                moved = " ".join(str(max(0, int(number) - shift)) for number in asked.split())
                await client.set(f"{keys.prefix(name)}:reclaim", moved, keepttl=True)
        async for raw in client.scan_iter(count=1000):
            left = await client.pttl(raw)
            if left > shift:
                await client.pexpire(raw, left - shift)
            elif left != -1:
                await client.delete(raw)


def _streams(name: str, found: list[Any]) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, str]]]]:
    """Jobs in each lane that wait, and those that run with their workers."""
    waiting: dict[str, list[str]] = {}
    running: dict[str, list[tuple[str, str]]] = {}
    for index, lane in enumerate(LANES):
        entries, claims = found[2 * index], found[2 * index + 1]
        owners = {} if isinstance(claims, Exception) else {item["message_id"]: item["consumer"].decode() for item in claims}
        ids = {entry: fields[b"i"].decode() if b"i" in fields else make_id(entry.decode(), lane, name) for entry, fields in entries}
        assert set(owners) <= set(ids), f"lane {lane}: a claim of an entry that is gone"
        waiting[lane] = [job_id for entry, job_id in ids.items() if entry not in owners]
        running[lane] = [(job_id, owners[entry]) for entry, job_id in ids.items() if entry in owners]
    return waiting, running
