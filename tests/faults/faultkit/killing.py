"""Kills at random: what is killed when is drawn from a seed beforehand; then it is done, and everything is started again."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dtq.embedded import PostgresServer, ValkeyServer
from dtq.errors import ConfigError
from faultkit.stand import Service, Stand, tail

__all__ = ["SERVERS", "Killer", "Stroke", "leftovers", "strokes"]

SERVERS = ("valkey", "postgres")
PAUSES = (0.1, 0.3, 0.6, 1.0, 1.5)
"""Seconds between strokes; services take about one to start, so that many are hit as they do."""
DOWN = (0.0, 0.0, 0.1, 0.5, 1.5)
AGAIN = (0.02, 0.1, 0.3, 0.8)
EVERYTHING = 20
"""Every so many strokes all of it is killed."""

Server = ValkeyServer | PostgresServer


class Stroke(NamedTuple):
    """One blow: after a pause, all ``targets`` are killed at once; after ``down`` seconds they are started again."""

    targets: tuple[str, ...]
    pause: float
    down: float
    again: float | None
    """Seconds after its start at which the first target is killed once more, if it is."""


def strokes(seed: int, names: Sequence[str], kills: int) -> list[Stroke]:
    """Strokes with at least ``kills`` kills in all, always the same for a seed. Pure.

    First each name is killed alone; of the others a third hit two at once or one that is starting, and some hit everything.
    """
    choice = random.Random(seed)
    alone = [(name,) for name in choice.sample(list(names), len(names))]
    found: list[Stroke] = []
    left = kills
    while left > 0 or alone:
        number = len(found) + 1
        targets = alone.pop() if alone else tuple(choice.sample(list(names), choice.choices([1, 2], [5, 1])[0]))
        if number % EVERYTHING == EVERYTHING // 2:
            targets = tuple(choice.sample(list(names), len(names)))
        again = choice.choice(AGAIN) if choice.random() < 0.2 else None
        found.append(Stroke(targets, choice.choice(PAUSES), choice.choice(DOWN), again))
        left -= len(targets) + (again is not None)
    return found


class Killer:
    """Carries out strokes against a stand, from the main thread."""

    def __init__(self, stand: Stand) -> None:
        """Everything of ``stand`` runs."""
        self._stand = stand
        self._servers: dict[str, Server] = {"valkey": stand.valkey, "postgres": stand.postgres}
        self.kills: Counter[str] = Counter()
        """Processes killed, by their names."""
        self.starting = 0
        """How many of these were about to start."""
        self.gave_up: Counter[str] = Counter()
        """Services that ended by themselves, with the last they said."""

    def strike(self, stroke: Stroke) -> None:
        """Kill, wait, and start again whatever does not run."""
        time.sleep(stroke.pause)
        for name in stroke.targets:
            self._kill(name)
        for name in stroke.targets:
            self._bury(name)
        time.sleep(stroke.down)
        self._notice_dead()
        for name in sorted(stroke.targets, key=lambda name: name not in SERVERS):
            self._start(name, stroke.again if name == stroke.targets[0] else None)

    def _kill(self, name: str) -> bool:
        """Send SIGKILL, if it runs."""
        if name not in SERVERS:
            service = self._stand.services[name]
            if not service.alive():
                return False
            self.starting += not service.ready()
            service.signal(signal.SIGKILL)
        else:
            server = self._servers[name]
            if not server.alive() or server.process is None:
                return False
            self._stand.log.note("fault", text="SIGKILL", target=name, pid=server.pid)
            with contextlib.suppress(ProcessLookupError):
                server.process.kill()
        self.kills[name] += 1
        return True

    def _bury(self, name: str) -> None:
        if name in SERVERS:
            self._servers[name].kill()
        elif (popen := self._stand.services[name].popen) is not None:
            popen.wait()

    def _notice_dead(self) -> None:
        """Start what has ended by itself, as its supervisor would."""
        for service in self._stand.services.values():
            if service.fell() and service.popen is not None:
                self.gave_up[f"{service.name}: exit code {service.popen.returncode}: {last_line(service)}"] += 1
                service.start()

    def _start(self, name: str, again: float | None) -> None:
        if name in SERVERS:
            self._start_server(name, again)
            return
        service = self._stand.services[name]
        if not service.alive():
            service.start()
        if again is not None:
            time.sleep(again)
            if self._kill(name):
                self._bury(name)
            service.start() if not service.alive() else None

    def _start_server(self, name: str, again: float | None) -> None:
        """Start a server; if it shall die as it does so, another thread kills it."""
        server = self._servers[name]
        struck: list[bool] = []
        timer = threading.Timer(again or 0.0, lambda: struck.append(self._kill(name)))
        if again is not None:
            timer.start()
        try:
            server.start()
        except ConfigError:
            if again is None:
                raise
        if again is not None:
            timer.join()
            if any(struck):
                self.starting += 1
            else:  # it had no process yet
                self._kill(name)
            self._bury(name)
            server.start()

    def fallen(self) -> list[str]:
        """Violations: a service ended by itself. One whose port had been given to another program as it was dead may do so."""
        return [f"ended by itself: {why}" for why in self.gave_up if "address already in use" not in why]

    def revive(self) -> None:
        """Start what does not run, and return when all is ready."""
        for server in self._servers.values():
            server.start()
        deadline = time.monotonic() + 120
        while not all(service.alive() and service.ready() for service in self._stand.services.values()):
            self._notice_dead()
            states = {name: tail(service.output, 300) for name, service in self._stand.services.items() if not service.ready()}
            assert time.monotonic() < deadline, f"not ready within 120 s: {states}"
            time.sleep(0.1)


def last_line(service: Service) -> str:
    """The last that a service said."""
    lines = tail(service.output).strip().splitlines()
    return lines[-1][:300] if lines else "nothing"


def leftovers(folder: Path) -> list[str]:
    """Processes of services of a stand (their environment names its folder of histories) that still run."""
    return [f"{pid}: {command}" for pid, command in _processes(f"HISTORY={folder}".encode())]


def _processes(setting: bytes) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is not ours
            if setting in entry.joinpath("environ").read_bytes().split(b"\0"):
                yield int(entry.name), entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
