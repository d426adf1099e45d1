"""Redis has no memory left (``maxmemory``, policy noeviction): submissions are refused, what was accepted is run and stored.

- *filled*: the queues are paused and filled until the answer is 503. Then cancelling works, what needs memory is refused (503,
  never a 500), the queues are resumed, workers empty them, and when the results have expired (RESULTTTL) submissions are
  accepted again: nothing was restarted, no setting changed.
- *no room at all*: under load ``maxmemory`` is set below what Redis uses already. Jobs that run must be ended all the same, with
  their results; then it is raised again. One queue is new by then: no worker has ever claimed from it.
"""

from __future__ import annotations

import random
import time

import redis
from faultkit.checker import Verdict
from faultkit.history import Log
from faultkit.load import Client, Json, accepted_more, loaded, refused_more, refused_so_far
from faultkit.report import Result, Scenario
from faultkit.settle import settle_refused
from faultkit.stand import open_stand, until

__all__ = ["SCENARIO"]

NAME = "memory_full"
ROOM = 1_000_000
"""Bytes that queues may take, besides what Redis uses at the start."""
QUEUES = ("default", "other")
SHORT_LIVED = {"RESULTTTL": 5, "IDEMPOTENCYTTL": 5}
SCHEDULE: Json = {"schedule": "@every 1h", "jobTemplate": {"type": "task", "payload": {"tag": "tick"}}}


def _run(scale: float) -> list[Result]:
    results = []
    for step, run in (("filled until 503, then emptied", _filled), ("no room at all under load", _no_room)):
        began = time.monotonic()
        verdict = run(scale)
        results.append(Result(NAME, step, verdict.violations, verdict.figures, time.monotonic() - began))
    return results


def _plan(choice: random.Random) -> tuple[Json, Json]:
    return {"seconds": choice.choice([0, 0, 0.01]), "size": choice.choice([0, 200])}, {"queue": choice.choice(QUEUES)}


def _filled(scale: float) -> Verdict:
    violations: list[str] = []
    refusals = 0
    with open_stand() as stand:
        stand.start(workers=2, **SHORT_LIVED)
        log = Log(stand.history, "client asking")
        client = Client(stand.url, log)
        violations += _expect(client, {200, 201}, "PUT", "/schedules/before", SCHEDULE)
        with redis.Redis.from_url(stand.redis_url) as server:
            server.config_set("maxmemory", server.info("memory")["used_memory"] + round(ROOM * max(1.0, 3 * scale)))
        stand.log.note("fault", text="maxmemory", target="valkey")
        for queue in QUEUES:
            violations += _expect(client, {200}, "POST", f"/queues/{queue}/pause")
        with loaded(stand, 4, seed=41, plan=_plan, tries=1, meddle=False) as clients:
            refused_more(stand, 100)
            job = clients[0].accepted[0]
            violations += _expect(client, {200}, "GET", f"/jobs/{job}")
            violations += _expect(client, {503}, "PUT", "/schedules/full", SCHEDULE)
            violations += _expect(client, {503}, "POST", "/schedules/before/trigger")
            violations += _cancel(client, clients[0].accepted[1])
            refusals = refused_so_far(stand)
            for queue in QUEUES:
                violations += _expect(client, {200}, "POST", f"/queues/{queue}/resume")
            full = time.monotonic()
            accepted_more(clients, 50)
            again = time.monotonic() - full
        # The load may have filled it once more, until results expire.
        until("a schedule can be run by hand again", lambda: not _expect(client, {200, 202}, "POST", "/schedules/before/trigger"), 60)
        violations += _expect(client, {200, 204}, "DELETE", "/schedules/before")
        log.close()
        verdict = settle_refused(stand)
        verdict.violations += violations
    verdict.figures |= {"refused with 503 before": refusals, "s from resuming to the next 50 accepted": again}
    return verdict


def _no_room(scale: float) -> Verdict:
    violations: list[str] = []
    with open_stand() as stand:
        stand.start(workers=2)
        log = Log(stand.history, "client asking")
        client = Client(stand.url, log)
        violations += _expect(client, {200}, "POST", "/queues/fresh/pause")
        fresh = [client.submit({}, queue="fresh") for _ in range(5)]
        with redis.Redis.from_url(stand.redis_url) as server, loaded(stand, 4, seed=43) as clients:
            for _ in range(max(1, round(4 * scale))):
                accepted_more(clients, 100)
                server.config_set("maxmemory", 1)
                stand.log.note("fault", text="maxmemory 1", target="valkey")
                refused_more(stand, 1)
                if fresh:
                    violations += _expect(client, {200}, "POST", "/queues/fresh/resume")
                until("every job that is ready has ended without memory", lambda: not _demand(client), 90, pause=0.3)
                fresh = []
                server.config_set("maxmemory", 0)
        log.close()
        verdict = settle_refused(stand)
        verdict.violations += violations
    return verdict


def _demand(client: Client) -> int:
    """Jobs that are ready or run."""
    answers = [client.call("GET", f"/queues/{queue}") for queue in (*QUEUES, "fresh")]
    return sum(answer["demand"] if status == 200 else 1 for status, answer in answers)  # 503: not known just now


def _expect(client: Client, wanted: set[int], method: str, path: str, body: Json | None = None) -> list[str]:
    status, answer = client.call(method, path, body)
    return [] if status in wanted else [f"{method} {path}: {status} instead of {sorted(wanted)}: {str(answer)[:200]}"]


def _cancel(client: Client, job: str) -> list[str]:
    client.cancel(job)
    return [] if (state := client.look(job)) == "cancelled" else [f"{job}: {state} after it was cancelled without memory"]


SCENARIO = Scenario(NAME, _run)
