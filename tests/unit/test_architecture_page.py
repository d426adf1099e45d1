"""docs/architecture.md draws the state machine and maps the keys as the code has them."""

from __future__ import annotations

import re
from pathlib import Path

from dtq.job import TERMINAL, TRANSITIONS, State
from dtq.queue import keys

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
SHARED = ROOT / "shared" / "dtq"


def key_map() -> set[str]:
    """The keys in the first column of the table."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith(("| `dtq:", "| `{dtq:"))]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def suffixes(folder: Path) -> set[str]:
    """What the scripts of a folder append to their prefix, such as ``:job:``."""
    return {
        found for path in folder.glob("*.lua") for found in re.findall(r"(?:\bp|KEYS\[key\]) \.\. '(:[a-z]+:?)", path.read_text("utf-8"))
    }


def test_the_drawing_has_exactly_the_legal_transitions() -> None:
    drawn = {(old, new) for old, new in re.findall(r"^    (\w+) --> (\w+):", PAGE, re.MULTILINE)}
    assert drawn == {(str(old), str(new)) for old, found in TRANSITIONS.items() for new in found}


def test_jobs_begin_where_the_drawing_says() -> None:
    assert set(re.findall(r"^    \[\*\] --> (\w+)", PAGE, re.MULTILINE)) == {State.SCHEDULED, State.QUEUED}
    assert set(re.findall(r"^    (\w+) --> \[\*\]", PAGE, re.MULTILINE)) == {state for state in TERMINAL if not TRANSITIONS[state]}


def test_the_key_map_has_every_key_of_the_keys_module() -> None:
    made = {
        keys.QUEUES,
        keys.idempotency("KEY"),
        *(keys.lane("Q", letter) for letter in keys.LANES),
        *(make("Q", "ID") for make in (keys.record, keys.progress)),
        *(make("Q", "SLICE") for make in (keys.done, keys.failed)),
        *(make("Q") for make in (keys.delayed, keys.dead, keys.cancels, keys.paused, keys.idle, keys.wake, keys.outbox)),
        keys.box("Q", "WORKER"),
    }
    assert made <= key_map()


def test_the_key_map_has_every_key_of_the_queues_scripts() -> None:
    mapped = {re.sub(r"(:\w+:)\w+$", r"\1", key.removeprefix("dtq:{Q}")) for key in key_map() if key.startswith("dtq:{Q}")}
    assert suffixes(SHARED / "lua") <= mapped


def test_the_key_map_has_every_key_of_the_schedules_scripts() -> None:
    mapped = {re.sub(r"(:\w+:)\w+$", r"\1", key.removeprefix("{dtq:schedules}")) for key in key_map() if key.startswith("{dtq:schedules}")}
    assert suffixes(SHARED / "schedule" / "lua") <= mapped
