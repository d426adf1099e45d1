"""Finished jobs in PostgreSQL: one row a job, whatever the batch holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import psycopg
import pytest

from dtq.errors import InvalidJobId, InvalidRequest, StoreUnavailable
from dtq.job import Attempt, JobError, State, TerminalJob
from dtq.storage import JobFilter, Store
from dtq.storage.times import DAY_MS

MS = 1_760_000_000_000


def job(n: int = 0, *, ms: int = MS, payload: bytes = b"{}", **fields: object) -> TerminalJob:
    known = {"queue": "default", "type": "noop", "state": State.SUCCEEDED, "submitted": ms, "finished": ms + 5}
    return TerminalJob(**{"id": f"{ms:011x}{n:05x}n-default", "payload": msgspec.Raw(payload), **known, **fields})  # type: ignore[arg-type]


async def test_a_row_comes_back_as_it_was(store: Store) -> None:
    error = JobError("timeout", "took too long", "TimeoutError", "Traceback\n\tline")
    attempts = [
        Attempt(number=1, worker="w1", started=MS + 1, finished=MS + 2, outcome="lost"),
        Attempt(number=2, worker="w2", started=MS + 3, finished=MS + 4, outcome="timeout", error=error, logs=["a", "b\nc"]),
    ]
    row = job(
        payload=b'{ "to": ["x"],\n "n": 1.50 }',
        state=State.FAILED,
        error=error,
        attempts=attempts,
        started=MS + 1,
        priority="high",
        timeout=2.5,
        max_retries=0,
        replays=3,
        output="out/1.png",
        schedule="nightly",
    )
    assert await store.insert([row]) == 1
    assert await store.get(row.id) == row


async def test_a_result_of_null_differs_from_no_result(store: Store) -> None:
    with_null, without = job(1, result=msgspec.Raw(b"null")), job(2)
    await store.insert([with_null, without])
    assert [await store.get(with_null.id), await store.get(without.id)] == [with_null, without]


async def test_an_unknown_job_has_no_row(store: Store) -> None:
    assert await store.get(job().id) is None


async def test_a_string_that_is_no_id_is_refused(store: Store) -> None:
    with pytest.raises(InvalidJobId):
        await store.get("' OR 1=1")


async def test_nothing_is_inserted_for_no_rows(store: Store) -> None:
    assert await store.insert([]) == 0


async def test_inserting_again_changes_nothing(store: Store) -> None:
    rows = [job(n) for n in range(5)]
    assert await store.insert(rows) == 5
    assert await store.insert([*rows[:4], job(4, type="other"), job(5)]) == 1
    assert (await store.get(rows[4].id)) == rows[4]


async def test_a_replayed_job_replaces_its_row(store: Store) -> None:
    failed = job(state=State.FAILED, error=JobError("error", "no"))
    replayed = job(replays=1, result=msgspec.Raw(b"1"), finished=MS + 99)
    await store.insert([failed])
    assert await store.insert([replayed]) == 1
    assert await store.insert([failed]) == 0
    assert await store.get(failed.id) == replayed


async def test_repeats_within_a_batch_make_one_row(store: Store) -> None:
    assert await store.insert([job(1), job(1), job(2), job(1, replays=1)]) == 2
    assert await store.get(job(1).id) == job(1, replays=1)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'"\\u0000"', id="nul"),
        pytest.param(b'{"a": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'"\\ud83d\\ude00"', id="pair"),
        pytest.param(b'[{"\\"": "\\\\"}]', id="escapes"),
        pytest.param(b'"' + b"x" * 20_000_000 + b'"', id="huge"),
        pytest.param(b"[" * 500 + b"]" * 500, id="nested"),
    ],
)
async def test_unusual_json_is_kept_as_it_is(store: Store, payload: bytes) -> None:
    await store.insert([job(payload=payload)])
    found = await store.get(job().id)
    assert found is not None
    assert bytes(found.payload) == payload


@pytest.mark.parametrize(
    "row",
    [
        job(7, payload=b'"\0"'),
        job(7, payload=b"{not json"),
        job(7, payload=b'"\xff"'),
        job(7, payload=b"[" * 100_000 + b"]" * 100_000),
        job(7, payload=b""),
        job(7, result=msgspec.Raw(b"{")),
        job(7, type="a\0b"),
        job(7, type="a\x1fb"),
        job(7, output="\ud800"),
        job(7, state=State.FAILED, error=JobError("error", "\ud800 \0")),
        job(7, attempts=[Attempt(number=1, worker="w", logs=["\udfff"])]),
        job(7, error=JobError("error", "succeeded, yet with an error")),
        job(7, replays=2**40),
        job(7, timeout=float("inf")),
    ],
)
async def test_an_odd_row_is_stored_and_holds_up_no_other(store: Store, row: TerminalJob) -> None:
    others = [job(n) for n in range(7)] + [job(n) for n in range(8, 20)]
    assert await store.insert([*others[:7], row, *others[7:]]) == 20
    found = await store.get(row.id)
    assert found is not None
    assert found.state == row.state
    assert [await store.get(other.id) for other in others] == others


async def test_a_batch_of_large_rows_goes_in_by_parts(store: Store) -> None:
    rows = [job(n, payload=b'"' + b"x" * 5_000_000 + b'"') for n in range(9)]
    assert await store.insert(rows) == 9


async def test_a_row_without_a_valid_id_holds_up_no_other(store: Store) -> None:
    assert await store.insert([job(1), job(id="nonsense"), job(2)]) == 2


async def test_days_far_apart_go_into_partitions_of_their_own(store: Store, pg_dsn: str) -> None:
    rows = [job(ms=MS - days * DAY_MS) for days in (0, 1, 400, 5000)]
    assert await store.insert(rows) == 4
    with psycopg.connect(pg_dsn) as connection:
        found = connection.execute("SELECT DISTINCT tableoid::regclass::text FROM dtq.jobs ORDER BY 1").fetchall()
    assert [name for (name,) in found] == ["dtq.jobs_20120131", "dtq.jobs_20240904", "dtq.jobs_20251008", "dtq.jobs_20251009"]


async def test_rows_wait_for_a_day_that_somebody_has_detached(store: Store, pg_dsn: str) -> None:
    rows = [job(n) for n in range(3)] + [job(ms=MS + DAY_MS)]
    await store.insert([job(9)])
    day = "dtq.jobs_20251009"
    with psycopg.connect(pg_dsn, autocommit=True) as connection:
        bounds = connection.execute("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = %s::regclass", [day]).fetchone()
        assert bounds is not None
        connection.execute(f"ALTER TABLE dtq.jobs DETACH PARTITION {day}")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="its day is detached"):
                await store.insert(rows)
        connection.execute(f"ALTER TABLE dtq.jobs ATTACH PARTITION {day} {bounds[0]}")
    await store.insert(rows)
    assert [await store.get(row.id) for row in [*rows, job(9)]] == [*rows, job(9)]


async def test_a_row_of_a_detached_day_that_was_renamed_gets_a_new_one(store: Store, pg_dsn: str) -> None:
    await store.insert([job(1)])
    with psycopg.connect(pg_dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dtq.jobs DETACH PARTITION dtq.jobs_20251009")
        connection.execute("ALTER TABLE dtq.jobs_20251009 RENAME TO kept_20251009")
    assert await store.insert([job(2)]) == 1


async def test_a_day_is_split_at_midnight_utc(store: Store) -> None:
    midnight = MS // DAY_MS * DAY_MS
    rows = [job(ms=midnight - 1), job(ms=midnight), job(ms=midnight + DAY_MS - 1)]
    assert await store.insert(rows) == 3
    assert [await store.get(row.id) for row in rows] == rows


async def test_many_stores_may_make_the_same_partition_at_once(pg_dsn: str) -> None:
    stores = [Store(pg_dsn) for _ in range(8)]
    for each in stores:
        await each.open()
    counts = await asyncio.gather(*(each.insert([job(n), job(100, ms=MS + DAY_MS)]) for n, each in enumerate(stores)))
    assert sum(counts) == 8 + 1
    for each in stores:
        await each.close()


async def test_concurrent_inserts_of_the_same_rows_make_one_row_each(pg_dsn: str) -> None:
    stores = [Store(pg_dsn) for _ in range(3)]
    for each in stores:
        await each.open()
    rows = [job(n) for n in range(3000)]
    orders: list[Callable[[list[TerminalJob]], list[TerminalJob]]] = [list, lambda given: given[::-1], list]
    counts = await asyncio.gather(*(each.insert(order(rows)) for each, order in zip(stores, orders, strict=True)))
    assert sum(counts) == 3000
    for each in stores:
        await each.close()


async def test_pages_are_complete_and_without_repeats(store: Store) -> None:
    rows = [job(n, ms=MS + n // 7) for n in range(100)] + [job(n, ms=MS - 2 * DAY_MS) for n in range(30)]
    await store.insert(rows)
    seen: list[TerminalJob] = []
    while page := await store.list(JobFilter(), (seen[-1].submitted, seen[-1].id) if seen else None, limit=9):
        seen += page
    assert seen == sorted(rows, key=lambda row: (row.submitted, row.id), reverse=True)


async def test_each_filter_restricts_the_list(store: Store) -> None:
    failed = job(1, state=State.FAILED, error=JobError("error", ""))
    cancelled = job(2, state=State.CANCELLED)
    odd_type, odd_queue = job(3, type="csv"), job(4, queue="bulk")
    later = job(5, ms=MS + 10)
    await store.insert([failed, cancelled, odd_type, odd_queue, later])

    async def ids(**wanted: object) -> set[str]:
        return {row.id for row in await store.list(JobFilter(**wanted))}  # type: ignore[arg-type]

    assert await ids(states={State.FAILED}) == {failed.id}
    assert await ids(states={State.FAILED, State.CANCELLED, State.QUEUED}) == {failed.id, cancelled.id}
    assert await ids(states={State.SUCCEEDED}, queue="default", type="noop") == {later.id}
    assert await ids(type="csv") == {odd_type.id}
    assert await ids(queue="bulk") == {odd_queue.id}
    assert await ids(since_ms=MS + 1) == await ids(since_ms=MS + 10) == {later.id}
    assert later.id not in await ids(until_ms=MS + 10)
    assert await ids(since_ms=MS, until_ms=MS) == set()
    assert len(await ids(since_ms=-(10**15), until_ms=10**18)) == 5


@pytest.mark.parametrize(("wanted", "after"), [(JobFilter(type="a\0b"), None), (JobFilter(), (1, "a\0b"))])
async def test_a_value_that_no_row_can_have_is_the_callers_fault(store: Store, wanted: JobFilter, after: tuple[int, str] | None) -> None:
    with pytest.raises(InvalidRequest):
        await store.list(wanted, after)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        ("DROP TABLE dtq.jobs CASCADE", r'^PostgreSQL refuses: relation "dtq.jobs" does not exist; run `dtq migrate`$'),
        ("ALTER DATABASE {db} SET role = pg_monitor", "^PostgreSQL refuses: permission denied for schema dtq$"),
    ],
)
async def test_a_server_that_refuses_is_not_told_to_be_away(pg_dsn: str, break_it: str, message: str) -> None:
    with psycopg.connect(pg_dsn, autocommit=True) as admin:
        admin.execute(break_it.format(db=f'"{admin.info.dbname}"').encode())
    store = Store(pg_dsn)
    await store.open()
    with pytest.raises(StoreUnavailable, match=message):
        await store.ping()
    await store.close()


async def test_a_server_that_took_no_writes_is_left_for_the_one_that_does(store: Store, pg_dsn: str) -> None:
    def alter(change: str) -> None:
        with psycopg.connect(pg_dsn, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" {change}'.encode())

    alter("SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match=r"PostgreSQL refuses: cannot execute .* in a read-only transaction"):
        await store.insert([job()])
    alter("RESET default_transaction_read_only")  # for new connections, as with a name that leads to another server by now
    assert await store.insert([job()]) == 1
