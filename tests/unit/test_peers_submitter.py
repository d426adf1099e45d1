"""How `make bench-peers` speaks with a system's submitting process, also with one that misbehaves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.submitter import Dead, Failed, Submitter
from peers.systems import System

SPEAKER = f"""#!{sys.executable}
import json, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    print("a library greets", flush=True)
    if asked["cmd"] == "silent":
        time.sleep(600)
    if asked["cmd"] == "gone":
        sys.exit(3)
    answer = {{"error": "no such queue", "trace": "line 1"}} if asked["cmd"] == "wrong" else {{"got": asked}}
    print("@@" + json.dumps(answer), flush=True)
"""


@pytest.fixture
def submitter(tmp_path: Path) -> Iterator[Submitter]:
    """One whose interpreter is the program above."""
    program = tmp_path / "env/bin/python"
    program.parent.mkdir(parents=True)
    program.write_text(SPEAKER)
    program.chmod(0o755)
    found = Submitter("it", System("peer_it", "env"), tmp_path, {}, tmp_path)
    yield found
    found.close()


def test_an_answer_is_found_between_other_lines(submitter: Submitter) -> None:
    assert submitter.ask("bulk", n=5) == {"got": {"cmd": "bulk", "n": 5}}
    assert submitter.ask("info") == {"got": {"cmd": "info"}}


def test_a_failure_there_is_told_and_the_next_command_answered(submitter: Submitter) -> None:
    with pytest.raises(Failed, match="no such queue\nline 1"):
        submitter.ask("wrong")
    assert submitter.ask("info") == {"got": {"cmd": "info"}}


def test_a_late_answer_is_never_that_of_another_command(submitter: Submitter) -> None:
    with pytest.raises(Dead, match=r"no answer in 0\.2 s"):
        submitter.ask("silent", wait=0.2)
    with pytest.raises(Dead):
        submitter.ask("info")


def test_a_process_that_ended_is_told(submitter: Submitter) -> None:
    with pytest.raises(Dead, match="exit code"):
        submitter.ask("gone")
    with pytest.raises(Dead):
        submitter.ask("info")
