"""Job ids: opaque, ordered by time, and leading to the job."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtq.errors import InvalidJobId
from dtq.ids import make_id, parse_id, submitted_ms, tick_id

times = st.integers(0, 16**11 - 1)
seqs = st.integers(0, 16**5 - 1)
queues = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)


@given(times, st.integers(0, 2**64 - 1), st.sampled_from("hnldt"), queues)
def test_round_trip(ms: int, seq: int, kind: str, queue: str) -> None:
    job_id = make_id(f"{ms}-{seq}", kind, queue)
    assert parse_id(job_id) == (ms, seq, kind, queue)
    assert parse_id(job_id).entry == f"{ms}-{seq}"
    assert submitted_ms(job_id) == ms


@given(st.tuples(times, seqs), st.tuples(times, seqs), queues)
def test_ids_order_by_submission(first: tuple[int, int], second: tuple[int, int], queue: str) -> None:
    ids = [make_id(f"{ms}-{seq}", "n", queue) for ms, seq in (first, second)]
    assert (ids[0] < ids[1]) == (first < second)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with suppress(InvalidJobId):
        parts = parse_id(text)
        assert make_id(parts.entry, parts.kind, parts.queue) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0197000000000001n",
        "0197000000000001x-q",
        "0197000000000001n-Q",
        "0197000000000001n-",
        "g197000000000001n-q",
        "0197000000000001n-q\n",
    ],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(InvalidJobId):
        parse_id(text)


@given(st.text(), times, queues)
def test_tick_id_is_the_same_every_time(uid: str, minute: int, queue: str) -> None:
    job_id = tick_id(uid, minute, queue)
    assert job_id == tick_id(uid, minute, queue)
    assert (parse_id(job_id).kind, parse_id(job_id).queue, submitted_ms(job_id)) == ("t", queue, minute)


def test_tick_ids_of_schedules_differ() -> None:
    assert len({tick_id(f"uid-{n}", 1_760_000_040_000, "q") for n in range(5000)}) == 5000
