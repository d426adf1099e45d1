"""What becomes of records on their way to PostgreSQL, without one."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from dtq.job import Attempt, JobError, State, TerminalJob
from dtq.storage.filters import JobFilter, conditions
from dtq.storage.insert import days_of
from dtq.storage.odd import cleaned, reduced
from dtq.storage.rows import CHUNK_BYTES, CHUNK_ROWS, OddRow, chunks, columns, distinct, too_large
from dtq.storage.times import DAY_MS, instant

MS = 1_760_000_000_000


def job(n: int = 0, *, payload: bytes = b"{}", **fields: object) -> TerminalJob:
    known = {"queue": "default", "type": "noop", "state": State.SUCCEEDED, "submitted": MS, "finished": MS + 5}
    return TerminalJob(**{"id": f"{MS:011x}{n:05x}n-default", "payload": msgspec.Raw(payload), **known, **fields})  # type: ignore[arg-type]


def test_repeated_ids_are_reduced_to_the_most_replays() -> None:
    first, second, other = job(1, replays=0), job(1, replays=2), job(2)
    assert distinct([other, second, first]) == [second, other]


def test_of_equal_repeats_the_first_stays() -> None:
    first, second = job(1, type="a"), job(1, type="b")
    assert distinct([first, second]) == [first]


def test_chunks_keep_order_and_lose_nothing() -> None:
    rows = [job(n) for n in range(CHUNK_ROWS * 2 + 1)]
    assert [row for chunk in chunks(rows) for row in chunk] == rows
    assert [len(chunk) for chunk in chunks(rows)] == [CHUNK_ROWS, CHUNK_ROWS, 1]


def test_a_statement_is_bounded_in_bytes() -> None:
    assert too_large(columns([job(1), job(2, payload=b'"' + b"x" * CHUNK_BYTES + b'"')]))
    assert not too_large(columns([job(1), job(2)]))


@pytest.mark.parametrize("row", [job(type="a\x1fb"), job(payload=b'"\x1f"'), job(schedule="\ud800"), job(id="not an id")])
def test_texts_that_cannot_be_joined_are_refused(row: TerminalJob) -> None:
    with pytest.raises(OddRow):
        columns([job(1), row])


def test_days_of_a_batch_across_midnight() -> None:
    midnight = MS // DAY_MS * DAY_MS + DAY_MS
    rows = [job(id=f"{ms:011x}00000n-q") for ms in (midnight - 1, midnight, midnight + DAY_MS)]
    assert days_of(rows) == {midnight // DAY_MS + n for n in (-1, 0, 1)}


@pytest.mark.parametrize("payload", [b'{"a": [1, 2]}', b'"\\u0000"', b'"\\ud800"', '"é"'.encode(), b'"\\\\ud800"'])
def test_cleaning_leaves_json_as_it_is(payload: bytes) -> None:
    assert bytes(cleaned(job(payload=payload)).payload) == payload


@pytest.mark.parametrize("payload", [b"", b"{", b'"\xff"x', b'"a\0b"', b"[" * 100_000])
def test_cleaning_makes_a_string_of_what_is_not_json(payload: bytes) -> None:
    assert isinstance(msgspec.json.decode(cleaned(job(payload=payload)).payload), str)


def test_cleaning_reaches_every_text() -> None:
    bad = "a\0b"
    error = JobError(bad, bad, bad, bad)
    attempt = Attempt(number=1, worker=bad, outcome=bad, error=error, logs=[bad])
    row = cleaned(job(type=bad, queue=bad, priority=bad, output=bad, schedule=bad, error=error, attempts=[attempt]))
    sent = b"".join(column.text for column in columns([row]))
    assert b"\0" not in sent
    assert b"\\u0000" not in sent


def test_a_reduced_row_says_why_and_how_the_job_ended() -> None:
    row = reduced(job(state=State.FAILED, error=JobError("error", "m" * 5000)), "too large")
    assert msgspec.json.decode(row.payload) == "not stored: too large"
    assert row.error == JobError("error", "m" * 1000)
    assert row.state is State.FAILED


def test_a_filter_of_live_states_matches_nothing() -> None:
    assert conditions(JobFilter(states={State.RUNNING}), None) is None


def test_a_filter_of_all_states_restricts_nothing() -> None:
    where = conditions(JobFilter(states=set(State)), None)
    assert where is not None
    assert "state" not in where[0]


def test_users_texts_are_parameters() -> None:
    where = conditions(JobFilter(type="'; --", queue="{x}"), (MS, "'id"))
    assert where is not None
    assert where[1] == {"type": "'; --", "queue": "{x}", "after_time": instant(MS), "after_id": "'id"}
    assert "--" not in where[0]


def test_instants_are_exact_and_bounded() -> None:
    assert instant(1) == datetime(1970, 1, 1, microsecond=1000, tzinfo=UTC)
    assert instant(-5) == datetime(1970, 1, 1, tzinfo=UTC)
    assert instant(10**20).year == 2527
