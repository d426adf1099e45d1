"""Handler processes that die or are spoiled: their own job fails at most, and the next one finds a sound process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
from worker_bench import Bench, alive, until

from dtq.job import JobView


def text(job: JobView) -> str:
    assert job.state == "succeeded", job.error
    value = json.loads(job.result or b"null")
    return str(value["text"] if isinstance(value, dict) else value)


async def test_processes_killed_while_idle_harm_no_job(bench: Bench) -> None:
    """Short of memory, the system may choose any process."""
    await bench.worker(processes=2)
    mark, gate = bench.mark(), bench.gate()
    held = [await bench.submit("sync_held", {"gate": gate, "mark": mark}) for _ in range(2)]
    await until("both processes are at work", lambda: len(mark.lines) == 2)
    gate.open()
    for job_id in held:
        assert (await bench.ended(job_id)).state == "succeeded"
    killed = set(mark.pids)
    assert len(killed) == 2
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    jobs = [await bench.submit("sync_echo", {"text": "a", "mark": mark}, max_retries=0) for _ in range(6)]
    assert [text(await bench.ended(job_id)) for job_id in jobs] == ["a"] * 6
    assert not killed & set(mark.pids[2:])


@pytest.mark.parametrize("times", range(3))
async def test_a_process_killed_while_idle_harms_no_job_that_comes_at_once(bench: Bench, times: int) -> None:
    """Nobody has noticed yet that it is gone."""
    await bench.worker()
    mark = bench.mark()
    for _ in range(4):
        assert text(await bench.run("sync_echo", {"text": "a", "mark": mark}, max_retries=0)) == "a"
        with contextlib.suppress(ProcessLookupError):
            os.kill(mark.pids[-1], signal.SIGKILL)
    assert len(set(mark.pids)) == len(mark.pids)


async def test_a_handler_that_forks_and_returns_twice_has_one_result(bench: Bench) -> None:
    await bench.worker()
    assert text(await bench.run("forks", max_retries=0)) == "parent"
    assert [text(await bench.run("sync_echo", {"text": word}, max_retries=0)) for word in "abc"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "scribble"),
    [
        ("kills_parent", ""),
        ("closes_files", ""),
        ("scribbles", b"garbage garbage".hex()),
        ("scribbles", (3).to_bytes(8, "big").hex() + b"abc".hex()),
        ("scribbles", (0).to_bytes(8, "big").hex()),
    ],
)
async def test_a_spoiled_process_fails_its_own_job_alone(bench: Bench, name: str, scribble: str) -> None:
    await bench.worker()
    job = await bench.run(name, {"text": scribble, "seconds": 60}, max_retries=0)
    assert job.state == "failed"
    assert job.error is not None
    assert "process died" in job.error.message
    assert [text(await bench.run("sync_echo", {"text": word}, max_retries=0)) for word in "abc"] == ["a", "b", "c"]


async def test_a_handler_whose_fork_server_is_gone_is_killed_with_it(bench: Bench) -> None:
    """It is reported as dead, so it must be."""
    await bench.worker()
    mark = bench.mark()
    await bench.run("kills_parent", {"seconds": 60, "mark": mark}, max_retries=0)
    await until("the handler's process is gone", lambda: not alive(mark.pids[0]))


async def test_a_cancelled_handlers_process_is_gone_when_the_answer_says_so(bench: Bench) -> None:
    await bench.worker()
    mark = bench.mark()
    job_id = await bench.submit("spin", {"seconds": 300, "mark": mark}, timeout=600.0)
    await until("the handler runs", lambda: mark.lines)
    await bench.queue.cancel(job_id)
    assert (await bench.ended(job_id)).state == "cancelled"
    assert not alive(mark.pids[0])


async def test_a_handler_that_ends_as_if_its_fork_server_were_gone_fails_alone(bench: Bench) -> None:
    await bench.worker()
    job = await bench.run("exits_255", max_retries=0)
    assert job.error is not None
    assert job.error.message == "the handler's process died (exit code 255)"
    assert text(await bench.run("sync_echo", {"text": "a"}, max_retries=0)) == "a"


async def test_a_temporary_folder_with_too_long_a_path_is_told_and_leaves_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has about a hundred characters at most."""
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    await bench.worker()
    job = await bench.run("sync_echo", {"text": "a"}, max_retries=1)
    assert job.error is not None
    assert "TMPDIR must be a short path" in job.error.message
    assert list(folder.glob("dtq-scratch-*")) == []
