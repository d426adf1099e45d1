"""How fast finished jobs go into PostgreSQL, against a bare COPY of the same rows.

    python benchmarks/insert_rows.py [ROWS]

Starts a PostgreSQL of its own (durable, default settings), fills the table as workers do, in batches from one
connection, then lets COPY fill the emptied table with the same indexes. Prints rows a second and the CPU time
that the client spends on a row.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psycopg
from program import launch

from dtq.embedded import PostgresServer
from dtq.job import Attempt, State, TerminalJob
from dtq.storage import Store
from dtq.storage.migrate import migrate
from dtq.storage.rows import columns, distinct

BATCH = 2000
DAY_MS = 86_400_000
FIRST_MS = 1_760_000_000_000 // DAY_MS * DAY_MS


def job(n: int) -> TerminalJob:
    """A job that does nothing, done at the first attempt."""
    ms = FIRST_MS + n // 50
    attempt = Attempt(number=1, worker="worker-7f9c-1", started=ms + 3, finished=ms + 5, outcome="succeeded")
    return TerminalJob(
        id=f"{ms:011x}{n % 50:05x}n-default",
        queue="default",
        type="noop",
        state=State.SUCCEEDED,
        payload=msgspec.Raw(b"{}"),
        submitted=ms,
        started=ms + 3,
        finished=ms + 5,
        result=msgspec.Raw(b"null"),
        attempts=[attempt],
        timeout=10.0,
        max_retries=5,
    )


async def insert(dsn: str, rows: list[TerminalJob]) -> tuple[float, float]:
    """Seconds, and client CPU seconds, that Store.insert takes for all rows."""
    store = Store(dsn)
    await store.open()
    await store.insert([job(-1)])  # connects
    began, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(rows), BATCH):
        await store.insert(rows[start : start + BATCH])
    spent = time.perf_counter() - began, time.process_time() - cpu
    await store.close()
    return spent


def copy(dsn: str) -> tuple[float, float]:
    """Seconds, and client CPU seconds, that COPY takes for the same rows, encoded beforehand, into the same indexes."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT * FROM dtq.jobs) TO STDOUT") as source:
            lines = [bytes(line) for line in source]
        connection.execute("TRUNCATE dtq.jobs")
        connection.execute("CHECKPOINT")
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(lines), BATCH):
            with connection.cursor() as cursor, cursor.copy("COPY dtq.jobs FROM STDIN") as target:
                target.write(b"".join(lines[start : start + BATCH]))
        return time.perf_counter() - began, time.process_time() - cpu


def show(name: str, rows: int, spent: tuple[float, float]) -> None:
    seconds, cpu = spent
    print(f"{name:<28}{rows / seconds:>10,.0f} rows/s{cpu / rows * 1e6:>8.2f} us of client CPU a row")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    rows = [job(n) for n in range(count)]
    with tempfile.TemporaryDirectory(prefix="dtq-bench-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            dsn = server.url_of("bench")
            migrate(dsn)
            # The first round also pays for new log files, which later rounds use again: leave it out.
            for name in ("Store.insert, first round", "Store.insert"):
                with psycopg.connect(dsn, autocommit=True) as connection:
                    connection.execute("TRUNCATE dtq.jobs")
                    connection.execute("CHECKPOINT")
                show(name, count, asyncio.run(insert(dsn, rows)))
            began, cpu = time.perf_counter(), time.process_time()
            for start in range(0, count, BATCH):
                columns(distinct(rows[start : start + BATCH]))
            show("  its encoding alone", count, (time.perf_counter() - began, time.process_time() - cpu))
            show("bare COPY, text ready-made", count, copy(dsn))
        finally:
            server.stop()


if __name__ == "__main__":
    launch(main)
