"""What the fault tests rest on when Valkey's file loses its end: where it is cut, and that a half-done state is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faultkit.aof import Size, before, cut, newest, torn_copy
from faultkit.history import Event
from faultkit.loss import Loss, check_loss

from dtq.job import JobView, State

WRITE = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n$4\r\nEXEC\r\n"
JOB = "0193f0c2a1b00000n-default"
LOSS = Loss(synced=100, crash=200, dead=250)


def test_the_newest_file_is_the_last_that_the_manifest_names(tmp_path: Path) -> None:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    lines = ["file a.1.base.rdb seq 1 type b", "file a.1.incr.aof seq 1 type i", "file a.2.incr.aof seq 2 type i"]
    (folder / "appendonly.aof.manifest").write_text("\n".join(lines) + "\n")
    assert newest(tmp_path) == folder / "a.2.incr.aof"


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_torn_write_is_the_beginning_of_a_real_one_and_never_whole(share: float) -> None:
    torn = torn_copy(WRITE * 3, share)
    assert WRITE.startswith(torn)
    assert 0 < len(torn) < len(WRITE)


def test_a_cut_goes_back_to_a_size_that_was_noted_before_the_moment(tmp_path: Path) -> None:
    file, older = tmp_path / "new", tmp_path / "old"
    sizes = [Size(1, older, 90), Size(5, file, 10), Size(9, file, 20), Size(12, file, 30)]
    assert before(sizes, 11) == Size(9, file, 20)
    file.write_bytes(bytes(30))
    assert cut(file, 20) == 10
    assert file.stat().st_size == 20


def history(accepted_at: int, sent_at: int | None = None) -> list[Event]:
    return [
        Event("sent", at=accepted_at - 1 if sent_at is None else sent_at, who="c", tag="c-0", key="c-0", plan={}),
        Event("accepted", at=accepted_at, who="c", tag="c-0", job=JOB, status=202),
    ]


def row(state: str = "succeeded") -> dict[str, Any]:
    return {"id": JOB, "state": state}


def view(state: State) -> JobView:
    return JobView(JOB, "default", "task", state, "normal", b"{}", 1)


def test_a_job_accepted_after_the_last_sync_may_vanish() -> None:
    verdict = check_loss(history(150), [], {JOB: None}, {}, [LOSS])
    assert verdict.violations == []
    assert verdict.figures["vanished"] == 1


def test_an_answer_may_be_noted_late_but_not_be_that_of_the_next_life() -> None:
    assert check_loss(history(90_000, sent_at=249), [], {JOB: None}, {}, [LOSS]).violations == []
    [violation] = check_loss(history(260, sent_at=251), [], {JOB: None}, {}, [LOSS]).violations
    assert "was accepted when it was synced" in violation


@pytest.mark.parametrize(
    ("at", "rows", "known", "idempotent", "found"),
    [
        (99, [], None, {}, "was accepted when it was synced"),
        (150, [], None, {"c-0": JOB}, "which does not exist"),
        (50, [row()], State.SUCCEEDED, {}, "its idempotency key leads to None"),
        (50, [row("failed")], None, {}, "planned was succeeded"),
        (50, [row()], State.FAILED, {"c-0": JOB}, "failed in Redis, succeeded in PostgreSQL"),
        (50, [], State.SUCCEEDED, {"c-0": JOB}, "has no row"),
        (50, [row()], State.RUNNING, {"c-0": JOB}, "still running"),
        (50, [row(), row()], None, {}, "more than one row"),
    ],
)
def test_what_is_half_done_after_a_loss_is_found(
    at: int, rows: list[dict[str, Any]], known: State | None, idempotent: dict[str, str], found: str
) -> None:
    views = {JOB: None if known is None else view(known)}
    [violation] = check_loss(history(at), rows, views, idempotent, [LOSS]).violations
    assert found in violation


@pytest.mark.parametrize(("first", "violations"), [(50, 1), (150, 0)])
def test_a_key_that_made_a_second_job_beside_the_first_is_found(first: int, violations: int) -> None:
    other = JOB.replace("0000n", "0001n")
    events = [*history(first), Event(kind="accepted", at=300, tag="c-0", job=other)]
    rows = [{"id": other, "state": "succeeded"}, *([row()] if violations else [])]  # else the first has vanished
    found = check_loss(events, rows, {JOB: None, other: None}, {}, [LOSS]).violations
    assert len(found) == violations
    assert all("made the jobs" in violation for violation in found)
