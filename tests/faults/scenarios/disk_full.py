"""The disk is full under PostgreSQL, or under Valkey.

Each server gets a small file system of its own in memory, which a file then fills: what it meets is ENOSPC. That needs root on
Linux; elsewhere the steps are left out, and say so.

- PostgreSQL: jobs are accepted and run, results wait in Redis, and are stored when there is room again.
- Valkey with ``appendfsync always`` ends itself when it cannot write its file: submissions get 503 until it has been started
  with room for it, as ``dtq up`` and Kubernetes do by themselves. Nothing accepted is lost. With ``everysec`` it goes on and
  refuses writes (MISCONF), and takes them by itself when there is room.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from faultkit.checker import Verdict
from faultkit.load import accepted_more, loaded, refused_more
from faultkit.report import Result, Scenario
from faultkit.settle import settle_refused
from faultkit.stand import Stand, open_stand, until

from dtq.embedded import EmbeddedServer

__all__ = ["SCENARIO"]

NAME = "disk_full"
POSTGRES_BYTES = 150_000_000
"""Of the file system: PostgreSQL needs some 60 MB at the start."""
VALKEY_BYTES = 40_000_000
BACKLOG = "dtq_outbox_entries"
"""Batches of results that wait in Redis."""


def _run(scale: float) -> list[Result]:
    if os.geteuid() != 0 or sys.platform != "linux":
        return [Result(NAME, "left out: a small file system needs root on Linux", [], {}, 0.0)]
    results = []
    for step, run in (("postgres", _postgres), ("valkey, always", _valkey_always), ("valkey, everysec", _valkey_everysec)):
        began = time.monotonic()
        verdict = run(scale)
        results.append(Result(NAME, step, verdict.violations, verdict.figures, time.monotonic() - began))
    return results


def _postgres(scale: float) -> Verdict:
    with open_stand() as stand, _on_small_disk(stand.postgres, POSTGRES_BYTES) as filler:
        stand.start()
        [scheduler], [worker] = stand.of("scheduler"), stand.of("worker")
        with loaded(stand, 4, seed=71) as clients:
            accepted_more(clients, 50)
            _fill(stand, filler, "postgres")
            # What is written at first may find room in pages and log files that are there already.
            until("PostgreSQL refuses rows", lambda: "No space left" in _text(worker.output), 180, pause=0.2)
            accepted_more(clients, max(50, round(1000 * scale)))
            until("the scheduler's metric shows the backlog", lambda: scheduler.metric(BACKLOG), 60, pause=0.3)
            backlog = scheduler.metric(BACKLOG)
            filler.unlink()
            accepted_more(clients, 20)
        verdict = settle_refused(stand)
    verdict.figures["batches waiting"] = backlog
    return verdict


def _valkey_always(scale: float) -> Verdict:
    with open_stand() as stand, _on_small_disk(stand.valkey, VALKEY_BYTES) as filler:
        stand.start()
        with loaded(stand, 4, seed=73) as clients:
            for _ in range(max(1, round(4 * scale))):
                accepted_more(clients, 50)
                _fill(stand, filler, "valkey")
                until("Valkey has ended itself", lambda: not stand.valkey.alive(), 120)
                refused_more(stand, 5)
                filler.unlink()
                stand.valkey.start()
                accepted_more(clients, 20)
        return settle_refused(stand)


def _valkey_everysec(_scale: float) -> Verdict:
    with open_stand(valkey_args=["--appendfsync", "everysec"]) as stand, _on_small_disk(stand.valkey, VALKEY_BYTES) as filler:
        stand.start()
        with loaded(stand, 4, seed=79) as clients:
            accepted_more(clients, 50)
            _fill(stand, filler, "valkey")
            refused_more(stand, 20)
            alive = stand.valkey.alive()
            filler.unlink()
            accepted_more(clients, 20)
        verdict = settle_refused(stand)
    if not alive:
        verdict.violations.append("the fault did not happen: Valkey has ended instead of refusing writes")
    return verdict


@contextlib.contextmanager
def _on_small_disk(server: EmbeddedServer, size: int) -> Iterator[Path]:
    """Move a server's files to a file system of its own; the path of the file that fills it. The server is stopped at the end."""
    server.stop()
    before = server.files.with_name("before")
    server.files.rename(before)
    server.files.mkdir()
    _command("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(server.files))
    try:
        _command("cp", "-a", f"{before}/.", str(server.files))
        server.start()
        yield server.files / "filler"
    finally:
        server.stop()
        _command("umount", str(server.files))


def _command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _fill(stand: Stand, filler: Path, target: str) -> None:
    """Write until nothing more fits."""
    stand.log.note("fault", text="disk full", target=target)
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        for block in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(block)):
                    pass


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


SCENARIO = Scenario(NAME, _run)
