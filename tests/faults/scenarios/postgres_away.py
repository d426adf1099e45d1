"""PostgreSQL is away for the whole run, and comes back: jobs are accepted, run and read meanwhile, and every row is stored then.

At scale 1 there are more results than a worker holds in memory (20,000 rows), so that the rest is left to the outbox and the
scheduler. When the server is back, it is killed once more in the middle of storing the backlog.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import psycopg
import redis
from faultkit.checker import Verdict
from faultkit.history import Log, read_history
from faultkit.load import Client, Json, loaded
from faultkit.remains import half_done
from faultkit.report import Result, Scenario
from faultkit.settle import settle
from faultkit.stand import Stand, open_stand, until

from dtq.queue import keys

__all__ = ["SCENARIO"]

NAME = "postgres_away"
JOBS = 25_000
BATCH = 500


def _run(scale: float) -> list[Result]:
    began = time.monotonic()
    verdict = _away(max(600, round(JOBS * scale)))
    return [
        Result(NAME, "away for the whole run, killed while it catches up", verdict.violations, verdict.figures, time.monotonic() - began)
    ]


def _away(jobs: int) -> Verdict:
    violations: list[str] = []
    with open_stand() as stand:
        log = Log(stand.history, "client bulk")
        with psycopg.connect(stand.database_url) as connection:  # they exist, so that inserts can be held up later
            connection.execute("SELECT dtq.ensure_day((now() AT TIME ZONE 'UTC')::date + day) FROM generate_series(-1, 1) AS day")
        stand.postgres.kill()
        stand.log.note("fault", text="SIGKILL", target="postgres")
        _start(stand)
        client = Client(stand.url, log)
        began = time.monotonic()
        with loaded(stand, 2, seed=61):
            accepted = _submit(client, log, jobs)
        until("all of them have ended", lambda: not _demand(client), 600, pause=0.2)
        ran = time.monotonic() - began
        violations += _meanwhile(stand, client, accepted)
        backlog = _outbox(stand)
        stand.postgres.start()
        back = time.monotonic()
        caught = _kill_in_an_insert(stand, lambda: accepted.extend(_submit(client, log, 100, start=jobs)))
        stand.postgres.start()
        until("the backlog is stored", lambda: not _outbox(stand), 300, pause=0.1)
        drained = time.monotonic() - back
        stand.wait_ready()
        status, answer = client.call("GET", "/jobs?limit=5&state=succeeded")
        if status != 200 or len(answer["jobs"]) != 5:
            violations.append(f"the list when PostgreSQL is back: {status} {str(answer)[:200]}")
        log.close()
        verdict = settle(stand)
        total = len({event.job for event in read_history(stand.history) if event.kind == "accepted"})
        verdict.violations += [*violations, *half_done(stand.redis_url)]
    verdict.figures |= {
        "jobs/s without PostgreSQL": round(total / ran),
        "batches left in Redis": backlog,
        "inserts under way at the kill": caught,
        "rows/s when back, kill included": round(total / drained),
    }
    return verdict


def _kill_in_an_insert(stand: Stand, more: Callable[[], object]) -> int:
    """SIGKILL of PostgreSQL while rows are on their way into the table; how many statements were.

    They are held up by a lock, so that they are sure to be under way. ``more`` makes some, should all have been stored before.
    """
    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(stand.database_url) as lock,
        psycopg.connect(stand.database_url, autocommit=True) as other,
    ):
        days = lock.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'dtq.jobs'::regclass").fetchall()
        lock.execute(f"LOCK TABLE {', '.join(day for (day,) in days)} IN SHARE MODE".encode())
        more()
        waiting = until("an insert is under way", lambda: _held_up(other), 60)
        stand.postgres.kill()
        stand.log.note("fault", text="SIGKILL", target="postgres")
    return int(waiting)


def _held_up(connection: psycopg.Connection[Any]) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO dtq.jobs%'"
    found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0


def _start(stand: Stand) -> None:
    """Start services on a database that is away: all but the scheduler, which says so, are ready."""
    stand.add("submitter").start()
    stand.add("worker", WORKERCOUNT=50).start()
    stand.add("scheduler").start()
    for service in (*stand.of("submitter"), *stand.of("worker")):
        until(f"{service.name} is ready without PostgreSQL", service.ready, 60)


def _submit(client: Client, log: Log, jobs: int, start: int = 0) -> list[str]:
    """Submit in batches, noted like single submissions."""
    choice = random.Random(61)
    ids: list[str] = []
    for first in range(start, start + jobs, BATCH):
        wanted: list[Json] = []
        for number in range(first, min(start + jobs, first + BATCH)):
            plan: Json = {"kind": choice.choices(["ok", "permanent"], [20, 1])[0]}
            log.note("sent", tag=f"bulk-{number}", plan=plan)
            wanted.append({"type": "task", "payload": {**plan, "tag": f"bulk-{number}"}})
        status, answer = client.call("POST", "/submit/batch", {"jobs": wanted})
        assert status == 202, f"a batch was answered with {status}: {answer}"
        for number, job in enumerate(answer["jobs"], first):
            log.note("accepted", tag=f"bulk-{number}", job=job["id"], status=202)
            ids.append(job["id"])
    return ids


def _meanwhile(stand: Stand, client: Client, accepted: list[str]) -> list[str]:
    """What the API, the probes and the metrics say while PostgreSQL is away."""
    found = []
    for job in (*accepted[:20], *accepted[-20:]):
        status, answer = client.call("GET", f"/jobs/{job}")
        if status != 200 or answer["state"] not in ("succeeded", "failed"):
            found.append(f"GET /jobs/{job} without PostgreSQL: {status} {str(answer)[:200]}")
    status, answer = client.call("GET", "/jobs?state=succeeded")
    if status != 503:
        found.append(f"the list of ended jobs without PostgreSQL: {status} instead of 503")
    status, answer = client.call("GET", "/readyz")
    if (status, answer["status"]) != (200, "degraded"):
        found.append(f"the submitter's /readyz without PostgreSQL: {status} {answer}")
    [scheduler] = stand.of("scheduler")
    if scheduler.ready():
        found.append("the scheduler is ready without PostgreSQL")
    try:
        until("a metric shows the backlog", lambda: scheduler.metric("dtq_outbox_entries"), pause=0.3)
    except AssertionError as error:
        found.append(str(error))
    return found


def _demand(client: Client) -> int:
    status, answer = client.call("GET", "/queues")
    return sum(queue["demand"] + queue["delayed"] for queue in answer["queues"]) if status == 200 else 1  # 503: not known just now


def _outbox(stand: Stand) -> int:
    with redis.Redis.from_url(stand.redis_url) as server:
        return sum(int(server.xlen(keys.outbox(name.decode()))) for name in server.smembers(keys.QUEUES))


SCENARIO = Scenario(NAME, _run)
