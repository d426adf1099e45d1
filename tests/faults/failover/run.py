"""Services on servers that fail over under load: what clients saw of it, and what became of what they were promised."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from faultkit.history import read_history
from faultkit.load import Json, loaded
from faultkit.settle import accepted_jobs, left_to_do, views_of
from faultkit.stand import Stand, until

from dtq.embedded import PostgresServer, ValkeyServer
from dtq.job import TERMINAL
from failover.servers import SERVICE, Replicated

__all__ = ["NOT_PROMISED", "halves", "open_services", "planned", "simple_plan", "strike"]

NOT_PROMISED = ("started",)
"""Rules that cannot hold: a submission that was answered 503 for want of replicas may have run, and be lost with its primary."""

Planner = Callable[[random.Random], tuple[Json, Json]]

JOBS = 60
"""Jobs accepted before the fault, and once more after it."""


@contextlib.contextmanager
def open_services(url: str, valkey: ValkeyServer, postgres: PostgresServer, dsn: str, **settings: Any) -> Iterator[Stand]:
    """A submitter, two workers and a scheduler with REDISADDR ``url``, ready; ended on leaving."""
    with tempfile.TemporaryDirectory(prefix="dtq-failover-", ignore_cleanup_errors=True) as folder:
        stand = Stand(Path(folder), valkey, postgres, "postgres")
        stand.redis_url, stand.database_url = url, dsn
        try:
            stand.start(1, 2, 1, **settings)
            yield stand
        finally:
            stand.close()


def simple_plan(choice: random.Random) -> tuple[Json, Json]:
    """Jobs that succeed, at once or after a while, in one queue."""
    return {"seconds": choice.choice([0.0, 0.0, 0.05, 0.5])}, {"queue": "default"}


def strike(stand: Stand, fault: Callable[[], None], *, seed: int, plan: Planner = simple_plan, pause: float = 0.02) -> dict[str, Any]:
    """Do ``fault`` under load, and return when all services serve again by themselves: what the clients saw of it, in figures."""
    before = {service.name: service.pid for service in stand.services.values()}
    with loaded(stand, 4, seed=seed, pause=pause, plan=plan, tries=400, meddle=plan is not simple_plan) as clients:

        def accepted() -> int:
            return sum(len(client.accepted) for client in clients)

        until("jobs are accepted", lambda: accepted() >= JOBS, 60)
        stand.log.note("fault", text="failover", target="primary")
        fault()
        after = accepted()
        until("jobs are accepted again", lambda: accepted() >= after + JOBS, 90)
    stand.wait_ready()
    assert {service.name: service.pid for service in stand.services.values()} == before
    assert all(service.alive() for service in stand.services.values())
    return _seen(stand)


def _seen(stand: Stand) -> dict[str, Any]:
    history = read_history(stand.history)
    began = next(event.at for event in history if event.kind == "fault" and event.text == "failover")
    answers = [event.at for event in history if event.kind == "accepted"]
    gaps = [(later - earlier) / 1e9 for earlier, later in itertools.pairwise(answers) if later > began]
    unanswered = [event for event in history if event.kind == "unanswered" and event.at >= began]
    return {
        "accepted": len(answers),
        "seconds without a 202": round(max(gaps), 2),
        "answers 503": sum(event.status == 503 for event in unanswered),
        "no answer": sum(event.status == 0 for event in unanswered),
        "other 5xx": sum(event.kind == "faulty" for event in history),
    }


def planned(servers: Replicated) -> None:
    """Have the Sentinels make a replica the primary while the primary lives, as before maintenance.

    Returns when the old one has been told, which takes the Sentinels some ten seconds more: until then it serves on.
    """
    old = servers.primary
    with redis.Redis.from_url(servers.sentinels[0].url) as client:
        client.execute_command("SENTINEL", "FAILOVER", SERVICE)
    until("another server is the primary", lambda: servers.named() not in (0, old.port), 60)
    until("the old primary is a replica", lambda: old in servers.replicas(), 60)


def halves(stand: Stand, seconds: float = 60.0) -> tuple[list[str], list[str]]:
    """Once nothing is waiting or running: the accepted jobs that vanished, and a line for each that is half-done.

    A job vanished if neither Redis nor PostgreSQL knows it. It is half-done if one of them says something that the other denies.
    """
    try:
        until("the queues are empty, and all results are stored", lambda: not left_to_do(stand.redis_url), seconds, pause=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {left_to_do(stand.redis_url)}") from error
    jobs = accepted_jobs(read_history(stand.history))
    rows: dict[str, list[str]] = {}
    for row in stand.rows():
        rows.setdefault(str(row["id"]), []).append(str(row["state"]))
    vanished, odd = [], []
    for job, view in views_of(stand.redis_url, list(dict.fromkeys([*jobs, *rows]))).items():
        states = rows.get(job, [])
        if view is None and not states:
            vanished.append(job)
        elif len(states) != 1:
            odd.append(f"{job}: {len(states)} rows")
        elif view is not None and (view.state not in TERMINAL or str(view.state) != states[0]):
            odd.append(f"{job}: {states[0]} in PostgreSQL, {view.state} in Redis")
    return vanished, odd
