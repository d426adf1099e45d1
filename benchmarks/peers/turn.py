"""One system's turn in one round: every measurement of a pass, added to what earlier rounds found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.processes import log, wait_quiet
from peers.servers import Servers
from peers.single import latency, queued_memory, recovery
from peers.submitter import Dead, Failed, Submitter
from peers.systems import System
from peers.throughput import throughput

DISTURBED = 0.15
"""A run in which others used more of the machine is dropped and done once more."""
NAPS_MS = (1, 10)
NAP_SECONDS = 3.0
SEQ_SECONDS = 2.0
WARM_UP = 500
"""Submissions before those that are timed one by one."""


@dataclass(frozen=True)
class Options:
    """Sizes and limits of a whole run."""

    root: Path
    """The folder of the environments."""
    logs: Path
    records: Path
    scale: float
    """Multiplies every system's own number of jobs."""
    samples: int
    """Latencies a round."""
    queued: int
    """Jobs that are queued to measure what one takes of memory."""
    timeout_s: float
    """For any one measurement."""
    recovery_s: float
    """A recovery that is documented to take longer is not waited for."""
    quiet_s: float
    """At most so long to wait for a quiet machine before a measurement."""
    only: frozenset[str]
    """Measurements to do; empty: all."""


ROWS = {
    "seq": ("seq",),
    "one": ("one", "bulk"),
    "two": ("two", "bulk"),
    "latency": ("latency_ms", "idle_mb"),
    "nap1": (),
    "nap10": (),
    "queued": ("queued_bytes",),
    "recovery": ("recovery",),
}
"""What can be measured, and where it is kept; naps by their milliseconds."""


def blank() -> dict[str, Any]:
    """What is known of a system before anything is measured."""
    return {"seq": [], "bulk": [], "one": [], "two": [], "latency_ms": [], "idle_mb": [], "naps": {}, "errors": []}


def without(found: dict[str, Any], rows: frozenset[str]) -> dict[str, Any]:
    """What earlier runs found, but for ``rows``, which are measured anew; of no rows nothing is kept."""
    if not rows:
        return blank()
    forgotten = {key for row in rows for key in ROWS[row]}
    kept = {key: value for key, value in found.items() if key not in forgotten}
    naps = {ms: runs for ms, runs in found.get("naps", {}).items() if f"nap{ms}" not in rows}
    errors = [error for error in found.get("errors", []) if error["row"] not in rows]
    return blank() | kept | {"naps": naps, "errors": errors}


class Turn:
    """Measures ``name`` and adds to ``found``."""

    def __init__(self, name: str, system: System, servers: Servers, options: Options, found: dict[str, Any]) -> None:
        self._name, self._system, self._servers, self._options, self._found = name, system, servers, options, found
        self._path = options.records / f"{name}.bin"

    def run(self, mode: str, round_number: int) -> None:
        """All measurements of the pass ``mode``; what fails is noted under errors."""
        self._attempt("start", lambda: self._throughput(mode == "memory", round_number))
        if mode != "memory":
            return
        for ms in NAPS_MS:
            if self._wanted(f"nap{ms}"):
                self._attempt(f"nap{ms}", lambda ms=ms: self._naps(ms))  # type: ignore[misc]
        if round_number == 0 and self._wanted("queued") and "redis" in self._system.broker:
            self._attempt("queued", self._queued)
        if round_number == 0 and self._wanted("recovery"):
            self._attempt("recovery", self._recovery)

    def _wanted(self, what: str) -> bool:
        return not self._options.only or what in self._options.only

    def _note(self, row: str, text: str, *, failed: bool) -> None:
        log(f"  {self._name}, {row}: {(text.splitlines() or [''])[0]}")
        self._found["errors"].append({"row": row, "text": text, "failed": failed})

    def _attempt(self, row: str, do: Callable[[], Any]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one system, the others have their turns
            self._note(row, str(error) if isinstance(error, (Failed, Dead)) else f"{type(error).__name__}: {error}", failed=True)
        finally:
            self._servers.flush()

    def _open(self, slots: int = 0) -> tuple[Submitter, dict[str, Any]]:
        options = self._options
        sub = Submitter(self._name, self._system, options.root, self._servers.environment(), options.logs, slots)
        try:
            info = sub.ask("info")
            sub.ask("open")
        except BaseException:
            sub.close()
            raise
        self._found["info"] = info
        return sub, info

    def _fresh(self, sub: Submitter) -> None:
        self._servers.flush()
        sub.ask("prepare")
        wait_quiet(self._options.quiet_s)

    def _throughput(self, everything: bool, round_number: int) -> None:
        sub, info = self._open()
        n = max(200, int(info["n"] * self._options.scale))
        try:
            if self._wanted("seq"):
                self._attempt("seq", lambda: self._found["seq"].append(self._one_by_one(sub)))
            for workers, kind in ((1, "one"), (2, "two")):
                if self._wanted(kind):
                    self._attempt(kind, lambda workers=workers, kind=kind: self._processed(sub, info, n, workers, kind))  # type: ignore[misc]
            if everything and self._wanted("latency"):
                self._attempt("latency", lambda: self._latency(sub, info, round_number))
        finally:
            sub.close()

    def _latency(self, sub: Submitter, info: dict[str, Any], round_number: int) -> None:
        self._fresh(sub)
        samples = min(self._options.samples, info["samples"])
        seen = latency(sub, info, samples, round_number, self._path, self._options.timeout_s)
        self._found["latency_ms"] += seen["ms"]
        self._found["idle_mb"].append(seen["idle_mb"])

    def _one_by_one(self, sub: Submitter) -> dict[str, Any]:
        """For some seconds; the first calls, in which code is compiled and connections are made, do not count."""
        self._fresh(sub)
        warm = sub.ask("seq", wait=self._options.timeout_s, n=WARM_UP)
        n = max(WARM_UP, int(SEQ_SECONDS * min(1.0, self._options.scale) * warm["n"] / warm["s"]))
        return sub.ask("seq", wait=self._options.timeout_s, n=n)

    def _processed(self, sub: Submitter, info: dict[str, Any], n: int, workers: int, kind: str) -> None:
        def once() -> dict[str, Any]:
            self._found["bulk"].append(self._load(sub, n))
            return throughput(sub, self._servers, info, n, workers, self._path, self._options.timeout_s)

        run = self._undisturbed(kind, once)
        if run["duplicates"]:
            self._note(kind, f"{run['duplicates']} of {run['n']} jobs ran twice", failed=False)
        self._found[kind].append(run)

    def _undisturbed(self, row: str, once: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        found = once()
        if self._options.quiet_s and found["foreign_share"] > DISTURBED:
            self._note(row, f"a disturbed run (others used {found['foreign_share']:.0%} of the machine) was dropped", failed=False)
            found = once()
        return found

    def _load(self, sub: Submitter, n: int) -> dict[str, Any]:
        self._fresh(sub)
        submitted = sub.ask("bulk", wait=self._options.timeout_s, n=n)
        sub.ask("loaded")
        return submitted

    def _naps(self, ms: int) -> None:
        """In the first round every number of slots that the adapter names is tried; the best goes on."""
        before = self._found["naps"].setdefault(str(ms), [])
        if before:
            candidates = [max(before, key=lambda run: run["rate"])["slots"]]
        else:
            candidates = self._found["info"]["slots"] if "info" in self._found else []
        for slots in candidates:
            sub, info = self._open(slots)
            try:
                n = max(100, int(min(info["n"], NAP_SECONDS * slots * 1000 / ms) * min(1.0, self._options.scale)))
                self._load(sub, n)
                run = throughput(sub, self._servers, info, n, 1, self._path, self._options.timeout_s, ms)
                before.append({"slots": slots, **run})
            finally:
                sub.close()

    def _queued(self) -> None:
        self._servers.flush()
        empty = self._servers.used_memory()
        sub, _ = self._open()
        try:
            self._fresh(sub)
            self._found["queued_bytes"] = queued_memory(sub, self._servers, self._options.queued, empty, self._options.timeout_s)
        finally:
            sub.close()

    def _recovery(self) -> None:
        info = self._found.get("info", {})
        if info.get("delivery") != "at least once" or info["recovers_after"] > self._options.recovery_s:
            return  # the table says what is documented
        sub, info = self._open()
        try:
            self._fresh(sub)
            self._found["recovery"] = recovery(sub, info, self._path, self._options.recovery_s)
        finally:
            sub.close()
