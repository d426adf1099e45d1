"""Every benchmark can be imported as it is, and says what it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PROGRAMS = [path for path in sorted(FOLDER.glob("*.py")) if "ArgumentParser" in path.read_text()]


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(path), *arguments], capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_it_explains_itself(path: Path) -> None:
    found = run(path, "--help")
    assert (found.returncode, found.stderr) == (0, "")
    assert "usage:" in found.stdout


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_its_defaults_are_taken(path: Path) -> None:
    """They are read before the option that there is not is told."""
    found = run(path, "--no-such-option")
    assert found.returncode == 2
    assert "error: argument" not in found.stderr


def test_a_benchmark_that_does_not_exist_is_refused() -> None:
    found = run(FOLDER / "run.py", "latency", "memroy")
    assert found.returncode == 2
    assert "unknown: memroy; there are worker-1-process, " in found.stderr


def test_all_that_make_bench_runs_are_there() -> None:
    text = (FOLDER / "run.py").read_text()
    assert all(f'"{path.name}"' in text for path in PROGRAMS if path.name not in {"scale_rows.py", "profile_paths.py", "worker_process.py"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["worker_throughput.py", "--jobs", "0"], "argument --jobs: 0: must be at least 1"),
        (["worker_throughput.py", "--slots", "10,many"], "argument --slots: invalid numbers value: '10,many'"),
        (["bulk_submit.py", "--fsync", "sometimes"], "argument --fsync: invalid choice: 'sometimes'"),
    ],
)
def test_a_wrong_number_is_refused_before_anything_starts(arguments: list[str], words: str) -> None:
    found = run(FOLDER / arguments[0], *arguments[1:])
    assert found.returncode == 2
    assert words in found.stderr
