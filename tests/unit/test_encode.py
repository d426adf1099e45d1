"""Jobs as arguments of the submit script."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dtq.job import NewJob
from dtq.queue.encode import options_json, submit_arguments

jobs_strategy = st.lists(
    st.builds(
        NewJob,
        type=st.sampled_from(["a", "b"]),
        payload=st.sampled_from([b"1", b"2", b"{}"]),
        queue=st.sampled_from(["x", "y"]),
        priority=st.sampled_from(["high", "normal", "low"]),
        delay_ms=st.sampled_from([0, 0, 0, 50]),
        timeout=st.sampled_from([None, 2.5]),
        idempotency_key=st.sampled_from([None, None, "k"]),
    ),
    max_size=30,
)


def read(keys: list[str], args: list[Any]) -> list[tuple[Any, ...]]:
    """The jobs as the script reads them (the grammar in submit.lua's header)."""
    found: list[tuple[Any, ...]] = []
    i = 2
    while i < len(args):
        if args[i] == "P":
            _, place, lane, jtype, options, count = args[i : i + 6]
            found += [(keys[place - 1], lane, jtype, options, payload, "0", 0, "") for payload in args[i + 6 : i + 6 + count]]
            i += 6 + count
        else:
            assert args[i] == "S"
            _, place, lane, jtype, options, payload, mode, value, key, digest = args[i : i + 10]
            assert digest
            found.append((keys[place - 1], lane, jtype, options, payload, mode, value, key))
            i += 10
    return found


@given(jobs_strategy)
def test_script_reads_what_was_meant(jobs: list[NewJob]) -> None:
    keys, args = submit_arguments(jobs, 7, 1000)
    assert args[:2] == [7, 1000]
    assert read(keys, args) == [
        (
            f"dtq:{{{job.queue}}}",
            job.priority[0],
            job.type,
            options_json(job.timeout, None),
            job.payload,
            "1" if job.delay_ms else "0",
            job.delay_ms,
            job.idempotency_key or "",
        )
        for job in jobs
    ]


@given(jobs_strategy)
def test_each_queue_is_one_key(jobs: list[NewJob]) -> None:
    keys, _ = submit_arguments(jobs, 0, 1)
    assert keys == list(dict.fromkeys(f"dtq:{{{job.queue}}}" for job in jobs))


def test_neighbours_share_a_segment() -> None:
    _, args = submit_arguments([NewJob("a", b"1"), NewJob("a", b"2"), NewJob("b", b"3")], 0, 1)
    assert args[2:] == ["P", 1, "n", "a", b"", 2, b"1", b"2", "P", 1, "n", "b", b"", 1, b"3"]


def test_run_at_is_passed_as_it_is() -> None:
    _, args = submit_arguments([NewJob("a", b"1", run_at_ms=0)], 0, 1)
    assert args[8:10] == ["2", 0]


def test_options_hold_only_what_is_set() -> None:
    assert options_json(None, None) == b""
    assert msgspec.json.decode(options_json(None, 0)) == {"max_retries": 0}
    assert msgspec.json.decode(options_json(1.5, None, "nightly")) == {"timeout": 1.5, "schedule": "nightly"}
