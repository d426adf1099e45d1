"""Steps at which processes are made to crash are named after what is sent."""

from __future__ import annotations

import pytest
from faultkit.crashnames import SqlNames, commands_of, redis_step
from hiredis import pack_command


def _packed(command: tuple[str | int, ...]) -> bytes:
    return bytes(pack_command(command))  # type: ignore[arg-type] # its stub knows tuples of one item only


SCRIPTS = {"a" * 40: "finish"}
NAMES = SqlNames(
    {
        "insert": "INSERT INTO dtq.jobs (id)\nVALUES (%b)",
        "empty_day": "DELETE FROM dtq.{part} WHERE finished_at < %(cutoff)s",
    }
)


@pytest.mark.parametrize(
    ("command", "step"),
    [
        (("EVALSHA", "a" * 40, 1, "dtq:{q}"), "script finish"),
        (("EVALSHA", "b" * 40, 1, "dtq:{q}"), "script bbbbbbbb"),
        (("XDEL", "dtq:{q}:outbox", "1-1"), "XDEL outbox"),
        (("XRANGE", "dtq:{q}:f", "-", "+"), "XRANGE lane"),
        (("BLPOP", "dtq:{q}:box:worker-1", "dtq:{q}:wake", 4), "BLPOP box"),
        (("SADD", "dtq:queues", "q"), "SADD queues"),
        (("SET", "dtq:idem:order-1", "q digest"), "SET idem"),
        (("HGETALL", "{dtq:schedules}:e:nightly"), "HGETALL schedules e"),
        (("INFO", "memory"), "INFO MEMORY"),
        (("SCRIPT", "LOAD", "return 1"), "SCRIPT LOAD"),
        (("PING",), "PING"),
    ],
)
def test_commands_are_named_by_verb_and_key(command: tuple[str | int, ...], step: str) -> None:
    (parsed,) = commands_of(_packed(command))
    assert redis_step(parsed, SCRIPTS) == step


def test_a_packet_may_hold_several_commands_in_several_pieces() -> None:
    packet = b"".join(map(_packed, [("PING",), ("GET", "dtq:{q}:paused")]))
    assert [redis_step(one, {}) for one in commands_of([packet[:5], packet[5:]])] == ["PING", "GET paused"]


@pytest.mark.parametrize(
    ("query", "step"),
    [
        (b"INSERT INTO dtq.jobs (id)\n  VALUES ($1)", "SQL insert"),
        (b"DELETE FROM dtq.jobs_20260301 WHERE finished_at < $1", "SQL empty_day"),
        (b"COMMIT", "SQL COMMIT"),
        (b"SELECT now()", "SQL SELECT now"),
        (b"", "SQL check"),
    ],
)
def test_statements_are_named_by_their_file_or_first_words(query: bytes, step: str) -> None:
    assert NAMES.step(query) == step
