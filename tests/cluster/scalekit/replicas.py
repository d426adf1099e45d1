"""How many pods each worker pool was to have, and had, over time."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from clusterkit import wait_for

from scalekit.site import Site

__all__ = ["Replicas"]

SHOWN = r'jsonpath={.metadata.labels.dtq\.dev/pool} {.spec.replicas} {.status.readyReplicas}{"\n"}'


@dataclass(frozen=True)
class Sample:
    """A pool as it was from a moment (monotonic) on."""

    time: float
    wanted: int
    ready: int


@dataclass
class Replicas:
    """Follows the Deployments of the workers; begins with their present state."""

    site: Site
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def watched(cls, site: Site) -> Iterator[Replicas]:
        """Watch during the block."""
        watch = cls(site)
        selector = f"app.kubernetes.io/instance={site.release.name},app.kubernetes.io/component=worker"
        command = [
            "kubectl",
            "--namespace",
            site.kubectl.namespace,
            "get",
            "deployments",
            "--selector",
            selector,
            "--watch",
            "--output",
            SHOWN,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            reader = threading.Thread(target=watch._read, args=(process,))
            reader.start()
            try:
                yield watch
            finally:
                process.terminate()
                reader.join()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            pool, *numbers = line.rstrip("\n").split(" ")
            wanted, ready = (int(number or 0) for number in numbers)  # what is 0 may be left out
            self.samples.setdefault(pool, []).append(Sample(time.monotonic(), wanted, ready))

    def now(self, pool: str) -> Sample:
        """Its present state."""
        found: list[Sample] = wait_for(f"the Deployment of {pool} is seen", lambda: self.samples.get(pool))
        return found[-1]

    def most(self, pool: str, since: float = 0.0) -> int:
        """The most pods that it was ever to have, ``since`` a moment (monotonic)."""
        self.now(pool)
        return max((sample.wanted for sample in self.samples[pool] if sample.time >= since), default=self.samples[pool][-1].wanted)

    def least_since(self, pool: str, ready: int) -> int:
        """The fewest pods that it was to have after it had had so many."""
        self.now(pool)
        later = itertools.dropwhile(lambda sample: sample.ready < ready, self.samples[pool])
        return min(sample.wanted for sample in later)

    def until(self, pool: str, wanted: int, ready: int, *, seconds: float = 240) -> float:
        """Wait until it is to have, and has, so many; when that was (monotonic)."""

        def there() -> bool:
            now = self.now(pool)
            return (now.wanted, now.ready) == (wanted, ready)

        wait_for(f"{pool} has {ready} of {wanted} pods ready", there, seconds=seconds, every=0.2, kubectl=self.site.kubectl)
        return self.now(pool).time

    def first(self, pool: str, ready: int, since: float) -> float:
        """Seconds from ``since`` until so many were ready."""
        return next(sample.time for sample in self.samples[pool] if sample.time >= since and sample.ready >= ready) - since
