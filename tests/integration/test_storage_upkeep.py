"""Migration, retention, and PostgreSQL going away and coming back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from dtq.embedded import PostgresServer, free_port
from dtq.errors import StoreUnavailable
from dtq.job import State, TerminalJob
from dtq.storage import JobFilter, Store
from dtq.storage.migrate import migrate
from dtq.storage.pool import Connection
from dtq.storage.times import DAY_MS


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def job(ms: int, n: int = 0, finished: int | None = None) -> TerminalJob:
    return TerminalJob(
        id=f"{ms:011x}{n:05x}n-q",
        queue="q",
        type="noop",
        state=State.SUCCEEDED,
        payload=msgspec.Raw(b"{}"),
        submitted=ms,
        finished=ms if finished is None else finished,
    )


def partitions(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT relname::text FROM pg_class WHERE relname ~ '^jobs_[0-9]+(_old)?$' ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def part(ms: int) -> str:
    return time.strftime("jobs_%Y%m%d", time.gmtime(ms / 1000))


# -- migration


def test_four_processes_may_migrate_a_missing_database_at_once(pg_server: PostgresServer) -> None:
    dsn = pg_server.url_of("migrated_by_four")
    program = f"from dtq.storage.migrate import migrate; migrate({dsn!r})"
    processes = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    results = [(process.communicate()[1], process.returncode) for process in processes]
    assert [code for _, code in results] == [0] * 4, results
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT version_num FROM dtq.schema_version").fetchall() == [("0001",)]


def test_migrating_again_changes_nothing(pg_dsn: str) -> None:
    assert migrate(pg_dsn)


def test_the_schema_of_a_newer_version_is_left_alone(pg_server: PostgresServer) -> None:
    dsn = pg_server.url_of("newer")
    assert migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE dtq.schema_version SET version_num = '9999'")
    assert not migrate(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT version_num FROM dtq.schema_version").fetchall() == [("9999",)]


def test_migrating_without_a_server_says_so() -> None:
    with pytest.raises(StoreUnavailable):
        migrate(f"postgresql://postgres@127.0.0.1:{free_port()}/dtq")


def test_every_column_is_explained(pg_dsn: str) -> None:
    with psycopg.connect(pg_dsn) as connection:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = 'dtq.jobs'::regclass AND attnum > 0"
        found = connection.execute(f"{query} AND col_description(attrelid, attnum) IS NULL").fetchall()
    assert found == []


# -- retention


async def test_upkeep_makes_days_ahead(store: Store, pg_dsn: str) -> None:
    before = now_ms()
    await store.maintain(30)
    found = set(partitions(pg_dsn))
    # Two days to choose from only if midnight was in between.
    assert any({part(today), part(today + DAY_MS), part(today + 3 * DAY_MS)} <= found for today in (before, now_ms()))


async def test_days_past_retention_are_dropped(store: Store, pg_dsn: str) -> None:
    now = now_ms()
    old, young = job(now - 12 * DAY_MS), job(now - 9 * DAY_MS)
    await store.insert([old, young])
    await store.maintain(10)
    assert await store.list(JobFilter()) == [young]
    assert part(old.submitted) not in partitions(pg_dsn)
    assert part(young.submitted) in partitions(pg_dsn)


async def test_an_old_job_that_finished_lately_stays(store: Store) -> None:
    now = now_ms()
    late, old = job(now - 40 * DAY_MS, 1, finished=now), job(now - 40 * DAY_MS, 2)
    await store.insert([late, old])
    await store.maintain(30)
    assert await store.list(JobFilter()) == [late]


async def test_a_dropped_day_is_made_again_for_a_late_job(store: Store) -> None:
    then = now_ms() - 40 * DAY_MS
    await store.insert([job(then, 1)])
    await store.maintain(30)
    late = job(then, 2, finished=now_ms())
    assert await store.insert([late]) == 1  # the store still believes that the partition exists
    assert await store.get(late.id) == late


async def test_a_job_that_came_in_while_its_day_was_detached_is_rescued(store: Store, pg_dsn: str) -> None:
    then = now_ms() - 40 * DAY_MS
    late = job(then, 1, finished=now_ms())
    await store.insert([late, job(then, 2)])
    day = part(then)
    with psycopg.connect(pg_dsn) as connection:  # as an interrupted upkeep leaves it
        connection.execute(f"ALTER TABLE dtq.jobs DETACH PARTITION dtq.{day}; ALTER TABLE dtq.{day} RENAME TO {day}_old")
    await store.maintain(30)
    assert await store.list(JobFilter()) == [late]
    assert f"{day}_old" not in partitions(pg_dsn)


async def test_a_day_that_is_there_again_does_not_stop_the_upkeep(store: Store, pg_dsn: str) -> None:
    then = now_ms() - 40 * DAY_MS
    await store.insert([job(then, 1)])
    day = part(then)
    with psycopg.connect(pg_dsn) as connection:  # as an interrupted upkeep leaves it
        connection.execute(f"ALTER TABLE dtq.jobs DETACH PARTITION dtq.{day}; ALTER TABLE dtq.{day} RENAME TO {day}_old")
    await store.insert([job(then, 2)])  # a result that waited in the outbox for longer than results are kept
    await store.maintain(30)
    assert await store.list(JobFilter()) == []
    assert not {day, f"{day}_old"} & set(partitions(pg_dsn))


async def test_several_processes_may_do_the_upkeep_at_once(pg_dsn: str) -> None:
    stores = [Store(pg_dsn) for _ in range(4)]
    for each in stores:
        await each.open()
    now = now_ms()
    keep = job(now)
    await stores[0].insert([keep, *(job(now - days * DAY_MS) for days in range(20, 30))])
    await asyncio.gather(*(each.maintain(10) for each in stores))
    await stores[0].maintain(10)
    assert await stores[0].list(JobFilter()) == [keep]
    for each in stores:
        await each.close()


async def test_upkeep_gives_way_to_a_long_query(store: Store, pg_dsn: str) -> None:
    old = job(now_ms() - 40 * DAY_MS)
    await store.insert([old])
    async with await psycopg.AsyncConnection.connect(pg_dsn) as reader:
        await reader.execute("SELECT count(*) FROM dtq.jobs")  # its transaction stays open
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await store.maintain(30)
    await store.maintain(30)
    assert await store.list(JobFilter()) == []


# -- PostgreSQL away


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="dtq-pg-") as folder:
        server = PostgresServer(Path(folder), free_port(), settings={"fsync": "off"})
        server.start()
        migrate(server.url)
        yield server
        server.stop()


async def fails(call: Callable[[], Awaitable[object]]) -> None:
    """Within 3 s mostly. A backend may answer once more before it sees that its server was killed."""
    async with asyncio.timeout(60):
        while True:
            try:
                await call()
            except StoreUnavailable:
                return
            await asyncio.sleep(0.05)


async def test_calls_fail_soon_while_postgres_is_away_and_work_when_it_is_back(own_server: PostgresServer) -> None:
    store = Store(own_server.url)
    await store.open()
    row = job(now_ms())
    await store.insert([row])
    for end in (own_server.stop, own_server.kill):
        end()
        for call in (store.ping, lambda: store.insert([row]), lambda: store.get(row.id), lambda: store.list(JobFilter())):
            await fails(call)
        own_server.start()
        await eventually_answers(store)
        assert await store.get(row.id) == row
    await store.close()


async def test_a_store_may_be_opened_before_its_server(own_server: PostgresServer) -> None:
    own_server.stop()
    store = Store(own_server.url)
    await store.open()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    own_server.start()
    await eventually_answers(store)
    await store.close()


async def test_a_store_without_its_table_is_unavailable(own_server: PostgresServer) -> None:
    store = Store(own_server.url_of("template1"))
    await store.open()
    with pytest.raises(StoreUnavailable, match=r"dtq\.jobs"):
        await store.ping()
    with pytest.raises(StoreUnavailable):
        await store.insert([job(now_ms())])
    await store.close()


@pytest.mark.parametrize(("trust_seconds", "expected"), [(0.0, 3), (3600.0, 1)])
async def test_a_connection_that_was_just_of_use_is_not_asked_first(
    trust_seconds: float, expected: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Connection] = []
    check = AsyncConnectionPool.check_connection

    async def count(connection: Connection) -> None:
        asked.append(connection)
        await check(connection)

    monkeypatch.setattr(AsyncConnectionPool, "check_connection", count)
    monkeypatch.setattr(store._pool, "_trust_seconds", trust_seconds)
    for _ in range(3):
        await store.ping()
    assert len(asked) == expected  # a new one always is
    assert len(set(map(id, asked))) == 1


async def eventually_answers(store: Store, seconds: float = 60.0) -> None:
    """Until a ping succeeds; each failing one waits for itself."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await store.ping()
            except StoreUnavailable:
                continue
