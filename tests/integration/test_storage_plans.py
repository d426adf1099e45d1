"""The plans behind look-ups and lists: one partition for an id, an index for each filter."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from dtq.job import State
from dtq.storage import JobFilter
from dtq.storage.filters import conditions
from dtq.storage.sql import statement_for
from dtq.storage.times import DAY_MS

DAYS = 4
ROWS = 200_000
FIRST_MS = 1_760_000_000_000 // DAY_MS * DAY_MS

FILL = """
INSERT INTO dtq.jobs (id, type, queue, state, payload, attempts, priority, submitted_at, finished_at)
SELECT
    lpad(to_hex(ms), 11, '0') || lpad(to_hex(n), 5, '0') || 'n-q',
    CASE WHEN n %% 5000 = 0 THEN 'rare' ELSE 'type' || n %% 5 END,
    CASE WHEN n %% 5000 = 1 THEN 'rare' ELSE 'queue' || n %% 3 END,
    CASE WHEN n %% 1000 = 2 THEN 'failed' WHEN n %% 5000 = 3 THEN 'cancelled' ELSE 'succeeded' END,
    '{}', '[]', 'normal', to_timestamp(ms / 1000.0), to_timestamp(ms / 1000.0)
FROM (SELECT n, %(first)s::bigint + n * %(step)s::bigint AS ms FROM generate_series(0, %(rows)s - 1) AS n) AS numbers
"""


@pytest.fixture
async def filled(pg_dsn: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[str]]]:
    """A connection to a database with 200,000 jobs over four days, analysed."""
    async with await psycopg.AsyncConnection.connect(pg_dsn, autocommit=True) as connection:
        days = [time.strftime("%Y-%m-%d", time.gmtime((FIRST_MS + day * DAY_MS) / 1000)) for day in range(DAYS)]
        await connection.execute("SELECT dtq.ensure_day(day) FROM unnest(%s::date[]) AS d (day)", (days,))
        await connection.execute(FILL, {"first": FIRST_MS, "step": DAYS * DAY_MS // ROWS, "rows": ROWS})
        await connection.execute("VACUUM ANALYZE dtq.jobs")
        yield connection


async def plan(connection: psycopg.AsyncConnection[tuple[str]], where: tuple[str, dict[str, object]] | None, limit: int = 50) -> str:
    """What EXPLAIN ANALYZE says of a read."""
    assert where is not None
    query = b"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + statement_for("select", conditions=where[0])
    cursor = await connection.execute(query, {**where[1], "limit": limit})
    return "\n".join([line for (line,) in await cursor.fetchall()])


def buffers(text: str) -> int:
    """Pages the whole read touched."""
    top = next(line for line in text.splitlines() if "Buffers:" in line)
    return sum(int(part.partition("=")[2]) for part in top.split() if part.startswith(("hit=", "read=")))


async def test_every_filter_reads_little_through_an_index(filled: psycopg.AsyncConnection[tuple[str]]) -> None:
    cases = {
        "all": JobFilter(),
        "type": JobFilter(type="type1"),
        "rare type": JobFilter(type="rare"),
        "queue": JobFilter(queue="queue1"),
        "rare queue": JobFilter(queue="rare"),
        "succeeded": JobFilter(states={State.SUCCEEDED}),
        "failed": JobFilter(states={State.FAILED}),
        "cancelled": JobFilter(states={State.CANCELLED}),
        "failed or cancelled": JobFilter(states={State.FAILED, State.CANCELLED}),
        "type and state": JobFilter(type="type1", states={State.FAILED}),
        "rare type, failed": JobFilter(type="rare", states={State.FAILED}),
        "time": JobFilter(since_ms=FIRST_MS + DAY_MS, until_ms=FIRST_MS + DAY_MS + 3_600_000),
        "type and time": JobFilter(type="type2", since_ms=FIRST_MS + DAY_MS, until_ms=FIRST_MS + 2 * DAY_MS),
    }
    for name, wanted in cases.items():
        text = await plan(filled, conditions(wanted, None))
        assert "Seq Scan on jobs" not in text, f"{name}:\n{text}"
        assert buffers(text) < 700, f"{name}:\n{text}"  # the table has some 4,000 pages


async def test_a_page_far_down_costs_no_more_than_the_first(filled: psycopg.AsyncConnection[tuple[str]]) -> None:
    for wanted in (JobFilter(), JobFilter(type="type1"), JobFilter(queue="queue1")):
        text = await plan(filled, conditions(wanted, (FIRST_MS + DAY_MS // 2, "z")))
        assert "Seq Scan on jobs" not in text, text
        assert buffers(text) < 700, text


async def test_an_id_is_looked_up_in_one_partition(filled: psycopg.AsyncConnection[tuple[str]]) -> None:
    params: dict[str, object] = {"submitted": "2025-10-10T00:00:00Z", "id": "x"}
    text = await plan(filled, ("submitted_at = %(submitted)s AND id = %(id)s", params), 1)
    assert text.count("Scan using") + text.count("Seq Scan") == 1, text
    assert "jobs_20251010_pkey" in text, text
