"""Lists and look-ups with many rows in PostgreSQL: 10,000,000 by default, over 30 days.

    python benchmarks/scale_rows.py [--rows 10000000] [--samples 100] [--plans FILE]

Rows go in by ``Store.insert`` in batches of 2,000, as workers store them: 40 types, 20 queues, of which a few are common and
most are rare, 2 % failed, 1 % cancelled, submitted at an even pace over 30 days. The rate of the first and of the last tenth
are printed. Then every query that ``GET /jobs`` and ``GET /jobs/ID`` can send is timed from this process, on one connection,
``samples`` times with random values; pages have 100 rows. ``--plans`` writes the EXPLAIN (ANALYZE, BUFFERS) of one of each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
from program import launch, positive

from dtq.embedded import PostgresServer
from dtq.ids import parse_id
from dtq.job import Attempt, JobError, State, TerminalJob
from dtq.storage import JobFilter, Store
from dtq.storage.filters import conditions
from dtq.storage.migrate import migrate
from dtq.storage.sql import statement_for

BATCH = 2000
DAY_MS = 86_400_000
DAYS = 30
FIRST_MS = 1_760_000_000_000 // DAY_MS * DAY_MS
TYPES = [f"type_{n}" for n in range(40)]
QUEUES = [f"queue-{n}" for n in range(20)]
PAYLOAD = msgspec.Raw(b'{"to":"someone@example.com","subject":"' + b"x" * 61 + b'"}')
ERROR = JobError(kind="error", message="ValueError: no such address", type="ValueError", traceback="Traceback ...")


def skewed(rng: random.Random, names: list[str]) -> str:
    """The first ones often, the last ones seldom (a millionth of the rows, about)."""
    return names[min(len(names) - 1, int(rng.expovariate(0.4)))]


def jobs(count: int) -> Iterator[list[TerminalJob]]:
    """Batches in the order of submission."""
    rng = random.Random(1)
    batch: list[TerminalJob] = []
    for n in range(count):
        ms = FIRST_MS + n * DAYS * DAY_MS // count
        queue, chance = skewed(rng, QUEUES), rng.random()
        state = State.FAILED if chance < 0.02 else State.CANCELLED if chance < 0.03 else State.SUCCEEDED
        outcome = "succeeded" if state is State.SUCCEEDED else "failed"
        batch.append(
            TerminalJob(
                id=f"{ms:011x}{n % 1024:05x}n-{queue}", queue=queue, type=skewed(rng, TYPES), state=state, payload=PAYLOAD, submitted=ms,
                started=ms + 3, finished=ms + 25, result=msgspec.Raw(b'{"sent":true}') if state is State.SUCCEEDED else None,
                error=None if state is State.SUCCEEDED else ERROR, timeout=10.0, max_retries=5,
                attempts=[Attempt(number=1, worker="worker-7f9c-1", started=ms + 3, finished=ms + 25, outcome=outcome)],
            )
        )  # fmt: skip
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def fill(store: Store, count: int) -> tuple[list[str], float, float]:
    """Insert all; some ids, and rows a second of the first and the last tenth, without the time to make them up."""
    ids: list[str] = []
    spans: list[float] = []
    for batch in jobs(count):
        ids.append(batch[len(batch) // 2].id)
        began = time.perf_counter()
        await store.insert(batch)
        spans.append(time.perf_counter() - began)
    tenth = max(1, len(spans) // 10)
    return ids, BATCH * tenth / sum(spans[:tenth]), BATCH * tenth / sum(spans[-tenth:])


def filters(rng: random.Random) -> dict[str, JobFilter]:
    """One list of each sort, with random values."""
    since = FIRST_MS + rng.randrange(DAYS - 2) * DAY_MS + rng.randrange(DAY_MS)
    common, rare = rng.choice(TYPES[:3]), rng.choice(TYPES[20:])
    queue, rare_queue = rng.choice(QUEUES[:3]), QUEUES[-1]
    failed = frozenset({State.FAILED})
    return {
        "newest": JobFilter(),
        "common type": JobFilter(type=common),
        "rare type": JobFilter(type=rare),
        "common queue": JobFilter(queue=queue),
        "rare queue": JobFilter(queue=rare_queue),
        "failed": JobFilter(states=failed),
        "cancelled": JobFilter(states=frozenset({State.CANCELLED})),
        "succeeded": JobFilter(states=frozenset({State.SUCCEEDED})),
        "failed of a common type": JobFilter(states=failed, type=common),
        "failed of a rare type": JobFilter(states=failed, type=rare),
        "type and queue": JobFilter(type=common, queue=queue),
        "rare type and common queue": JobFilter(type=rare, queue=queue),
        "an hour": JobFilter(since_ms=since, until_ms=since + 3_600_000),
        "failed of an hour": JobFilter(states=failed, since_ms=since, until_ms=since + 3_600_000),
        "failed of a type and a queue of a day": JobFilter(failed, common, queue, since, since + DAY_MS),
    }


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def timed(store: Store, ids: list[str], samples: int) -> dict[str, list[float]]:
    """ms of each query."""
    rng = random.Random(2)
    spent: dict[str, list[float]] = {}
    for _ in range(samples):
        for name, wanted in filters(rng).items():
            began = time.perf_counter()
            page = await store.list(wanted)
            spent.setdefault(name, []).append((time.perf_counter() - began) * 1000)
            if len(page) == 100:
                last = page[-1]
                began = time.perf_counter()
                await store.list(wanted, (last.submitted, last.id))
                spent.setdefault(f"{name}, next page", []).append((time.perf_counter() - began) * 1000)
        deep = parse_id(rng.choice(ids))
        began = time.perf_counter()
        await store.list(JobFilter(), (deep.ms, "~"))
        spent.setdefault("a page deep down", []).append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        assert await store.get(rng.choice(ids)) is not None
        spent.setdefault("one job by its id", []).append((time.perf_counter() - began) * 1000)
    return spent


def plans(dsn: str) -> str:
    """EXPLAIN of one list of each sort."""
    found = []
    with psycopg.connect(dsn) as connection:
        for name, wanted in filters(random.Random(3)).items():
            where = conditions(wanted, None)
            assert where is not None
            query = b"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + statement_for("select", conditions=where[0])
            lines = [row[0] for row in connection.execute(query, {**where[1], "limit": 100}).fetchall()]
            found.append(f"-- {name}: {where[0]}\n" + "\n".join(executed(lines)))
    return "\n\n".join(found) + "\n"


def executed(plan: list[str]) -> list[str]:
    """The lines of a plan without the nodes that were never executed, which are most of thirty partitions."""
    kept, skipped = [], None
    for line in plan:
        depth = len(line) - len(line.lstrip())
        if skipped is not None and depth > skipped:
            continue
        skipped = depth if "never executed" in line else None
        if skipped is None and "Index Searches" not in line:
            kept.append(line)
    return kept


async def measure(dsn: str, args: argparse.Namespace) -> dict[str, object]:
    store = Store(dsn)
    await store.open()
    try:
        ids, first, last = await fill(store, args.rows)
        print(f"insert: {first:,.0f} rows/s in the first tenth, {last:,.0f} in the last (ratio {last / first:.2f})", flush=True)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("ANALYZE dtq.jobs")
            connection.execute("CHECKPOINT")
            size = connection.execute(
                "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'dtq.jobs'::regclass"
            )
            total = int(size.fetchall()[0][0])
        print(f"{total / args.rows:.0f} bytes a row with its indexes", flush=True)
        spent = await timed(store, ids, args.samples)
    finally:
        await store.close()
    lists = {name: {"p50_ms": percentile(ms, 0.5), "p95_ms": percentile(ms, 0.95), "max_ms": max(ms)} for name, ms in spent.items()}
    for name, found in lists.items():
        print(f"{name:<48} p50 {found['p50_ms']:7.1f} ms   p95 {found['p95_ms']:7.1f} ms   max {found['max_ms']:7.1f} ms")
    return {"rows": args.rows, "first": first, "last": last, "bytes_per_row": total / args.rows, "lists": lists}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=positive, default=10_000_000)
    parser.add_argument("--samples", type=positive, default=100)
    parser.add_argument("--plans", default="")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dtq-bench-"))
    folder.chmod(0o755)
    server = PostgresServer(folder / "postgres")
    try:
        server.start()
        migrate(server.url)
        found = asyncio.run(measure(server.url, args))
        if args.plans:
            Path(args.plans).write_text(plans(server.url))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    launch(main)
