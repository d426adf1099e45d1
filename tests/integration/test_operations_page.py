"""docs/operations.md and docs/monitoring.md: the queries run on the schema, and the tables name what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from dtq.storage import Store
from dtq.storage.metrics import PoolCollector
from dtq_operator.metrics import Metrics as OperatorMetrics
from dtq_scheduler.metrics import QueueCollector, ScheduleMetrics, make_registry
from dtq_submitter.metrics import Metrics
from dtq_worker.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
MONITORING = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
QUERIES = [
    query for block in re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for query in block.split(";\n") if query.strip()
]


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_every_query_shown_runs(pg_dsn: str, query: str) -> None:
    with psycopg.connect(pg_dsn) as connection:
        connection.execute(query)


def test_the_columns_are_those_of_the_table(pg_dsn: str) -> None:
    section = PAGE.partition("## The table of results")[2].partition("```sql")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    with psycopg.connect(pg_dsn) as connection:
        rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_schema = 'dtq' AND table_name = 'jobs'")
        assert named == {name for (name,) in rows}


def test_the_metrics_are_those_of_the_services() -> None:
    registry = make_registry()
    ScheduleMetrics(registry)
    worker = WorkerMetrics(lambda: (0, 1), lambda: 0.0, lambda: ([], []))
    pool = PoolCollector(Store("postgresql://127.0.0.1:1/none").pool_stats)
    collectors = (registry, QueueCollector(), pool, Metrics().registry, worker, OperatorMetrics().registry)
    families = [family for collector in collectors for family in collector.collect()]
    exported = {family.name + ("_total" if family.type == "counter" else "") for family in families if family.name.startswith("dtq_")}
    assert set(re.findall(r"^\| `(dtq_\w+)` \|", MONITORING, re.MULTILINE)) == exported


def test_the_events_named_are_those_logged() -> None:
    source = "".join(path.read_text("utf-8") for folder in ("services", "shared") for path in (ROOT / folder).rglob("*.py"))
    call = r"(?:log(?:ger)?|get_logger\(\"[a-z.]+\"\))\.(info|warning|error|exception)\(\s*\"([a-z_]+)\""
    logged = set(re.findall(call, source)) - {("warning", "store_not_closed")}
    named = set(re.findall(r"`(\w+)`", PAGE.partition("| Level | Events |")[2].partition("\n\n")[0]))
    assert named <= {event for _, event in logged}
    assert {event for level, event in logged if level != "info"} <= named
