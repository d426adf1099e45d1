"""Clients that submit all the time and do not give up: each job has an idempotency key and is sent until it is accepted."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from clusterkit import Api, wait_for

__all__ = ["Load"]

CLIENTS = 6
PAUSE = 0.1
PATIENCE = 240
"""Seconds after which a client that is refused all the time gives up, and the test fails."""


@dataclass
class Load:
    """Jobs `nap` for one queue, and what became of each submission."""

    api: Api
    queue: str
    seconds: float = 1.0
    """How long each job takes."""
    accepted: dict[str, str] = field(default_factory=dict)
    """Idempotency key to id."""
    times: list[float] = field(default_factory=list)
    """When each was accepted (monotonic)."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Answers and errors after which a submission was sent again."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Submit while the block runs; afterwards each job that was begun has been accepted."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._client) for _ in range(CLIENTS)]
            try:
                self.more(20)
                yield self
                self.more(20)
            finally:
                self._stop.set()
            for client in clients:
                client.result()

    def more(self, count: int) -> None:
        """Wait until so many more are accepted."""
        goal = len(self.times) + count
        wait_for(
            f"{count} more jobs of {self.queue} are accepted ({dict(self.refusals)})", lambda: len(self.times) >= goal, seconds=PATIENCE
        )

    def longest_gap(self, since: float) -> float:
        """The longest time without an accepted job, of those that ended after ``since`` (monotonic)."""
        gaps = [later - earlier for earlier, later in itertools.pairwise(sorted(self.times)) if later > since]
        return max(gaps)

    def _client(self) -> None:
        while not self._stop.wait(PAUSE):
            self._submit(f"{self.queue}-{next(self._numbers)}")

    def _submit(self, key: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self._try(key)
            if answer is not None:
                self.accepted[key] = answer
                self.times.append(time.monotonic())
                return
            time.sleep(0.2)
        raise AssertionError(f"{key} was not accepted within {PATIENCE} s: {dict(self.refusals)}")

    def _try(self, key: str) -> str | None:
        body = {"type": "nap", "payload": {"seconds": self.seconds}, "queue": self.queue, "idempotency_key": key}
        try:
            answer = self.api.request("POST", "/submit", json=body, timeout=15)
        except httpx.HTTPError as error:
            self.refusals[type(error).__name__] += 1
            return None
        if answer.status_code in (200, 202):
            return str(answer.json()["id"])
        # Those a proxy or the submitter gives while something behind them is away; any other is an error of DTQ.
        assert answer.status_code in (404, 429, 500, 502, 503, 504), f"POST /submit: {answer.status_code} {answer.text}"
        self.refusals[str(answer.status_code)] += 1
        return None
