"""Whatever somebody puts into Redis by hand, running services live on, and every sound job ends well.

``EXAMPLES=2000 pytest tests/security/test_fuzzed_redis.py`` is the long form.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_process import Service, services, until

from dtq.embedded import PostgresServer, ValkeyServer
from dtq.storage.migrate import migrate

EXAMPLES = int(os.environ.get("EXAMPLES", "0")) or 40
FULL_SPEED = 10.0
"""Seconds within which a few sound jobs end, on a busy machine too. A worker that waits after faults takes longer, each time."""

MAX_GROWTH = 256 * 1024
"""KiB that a service may grow by."""

FORESEEN = frozenset(
    {"queue_damaged", "outbox_entries_unreadable", "schedule_unreadable", "store_row_refused", "claim_dropped", "outcome_refused"}
)
"""Errors that docs/operations.md names for damage like this."""

pytestmark = pytest.mark.timeout(300 + EXAMPLES * 5)

ID = "0197000000000001d-junk"
QUEUE_KEYS = {
    **dict.fromkeys(["h", "n", "l", "f", "outbox"], "stream"),
    **dict.fromkeys([f"job:{ID}", "done:019700000", "failed:019700000", "cancel", "ticks", "runs:u"], "hash"),
    **dict.fromkeys(["delayed", "dead", "workers", "idle"], "zset"),
    **dict.fromkeys(["box:nobody", "wake"], "list"),
    **dict.fromkeys(["seq", "reclaim", "mark", "idem:key", f"progress:{ID}"], "string"),
}
"""Keys of a queue by type. ``paused`` is left out: whatever it holds, the queue is paused."""

SCHEDULE_KEYS = {
    **dict.fromkeys(["e:bad", "served", "success"], "hash"),
    **dict.fromkeys(["names", "due", "watch"], "zset"),
    **dict.fromkeys(["events:bad", "ok:bad", "bad:bad"], "list"),
    "mark": "string",
}
FIELDS = ["t", "p", "o", "i", "r", "lane", "st", "sub", "due", "e", "n", "c", "a", "rp", "uid", "spec", "line", "zone", "gen", "owner"]
FIELDS += ["created", "last", "missed", "blocked", "next", "success", "r:x", ID, "nonsense"]
VALUES = [b"", b"{", b"{}", b"[]", b"null", b"-1", b"1e999", b"nan", b"9" * 25, b"\xff", b"\0", ID.encode(), b"noop", b"n:1-1", b"queued"]
VALUES += [b"scheduled", b'{"schedule":"* * * * *"}', b"* * * * *"]
VALUES += [b"bad", b'{"id":"x"}', b'[{"id":"x"}]', b"\xf0\x9f\x98\x80", b"x" * 5000]

values = st.sampled_from(VALUES) | st.binary(max_size=40)
fields = st.sampled_from([field.encode() for field in FIELDS]) | st.binary(min_size=1, max_size=10)
scores = st.sampled_from([0.0, 1.0, -1.0, 4e12, 1e300, float("inf"), float("-inf")]) | st.floats(allow_nan=False)
kinds = st.sampled_from([f"dtq:{{junk}}:{key}" for key in QUEUE_KEYS] + [f"{{dtq:schedules}}:{key}" for key in SCHEDULE_KEYS])


def _type(key: str) -> str:
    return QUEUE_KEYS[key.partition("}:")[2]] if key.startswith("dtq:{") else SCHEDULE_KEYS[key.partition("}:")[2]]


@st.composite
def writes(draw: st.DrawFn) -> tuple[Any, ...]:
    """One command that writes something into a key of its type."""
    key = draw(kinds)
    kind = _type(key)
    if kind in ("stream", "hash"):
        flat = [part for pair in draw(st.dictionaries(fields, values, min_size=1, max_size=6)).items() for part in pair]
        return ("XADD", key, "*", *flat) if kind == "stream" else ("HSET", key, *flat)
    if kind == "zset":
        return ("ZADD", key, draw(scores), draw(values))
    return ("RPUSH", key, draw(values)) if kind == "list" else ("SET", key, draw(values))


@dataclass
class Stand:
    """Running services, a client of their Redis, and one of their HTTP: to make one for each request takes longer than all else."""

    running: list[Service]
    redis: Any
    http: httpx.Client

    @property
    def api(self) -> str:
        """Where the submitter is."""
        return self.running[0].url

    def get(self, path: str) -> httpx.Response:
        """What the submitter answers."""
        return self.http.get(f"{self.api}{path}")

    def post(self, queue: str) -> httpx.Response:
        """Submit a sound job."""
        return self.http.post(f"{self.api}/submit", json={"type": "echo", "payload": {}, "queue": queue})

    def submit(self, *queues: str) -> list[str]:
        """The ids of sound jobs, accepted."""
        answers = [self.post(queue) for queue in queues]
        assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
        return [str(answer.json()["id"]) for answer in answers]

    def succeed(self, jobs: Iterable[str]) -> None:
        """They end well."""
        for job in jobs:
            answer = self.get(f"/jobs/{job}?wait=60")
            assert answer.status_code == 200, answer.text
            assert answer.json()["state"] == "succeeded", answer.text

    def look(self) -> None:
        """Whatever shows many things at once shows them."""
        for path in ("/jobs?limit=1000", "/queues", "/schedules", "/metrics", "/livez", "/queues/good", "/jobs?queue=good"):
            answer = self.get(path)
            assert answer.status_code == 200, (path, answer.text)

    def check(self) -> None:
        """No service has ended or is ill, and none has met a fault that it did not foresee."""
        for service in self.running:
            assert service.alive(), (service.name, service.events()[-5:])
            assert self.http.get(f"{service.url}/livez").status_code == 200, service.name
            assert _rss(service) < self.sizes[service.name] + MAX_GROWTH, service.name
            bad = [event for event in service.events() if _unforeseen(event)]
            assert bad == [], (service.name, json.dumps(bad[:3])[:6000])

    def __post_init__(self) -> None:
        self.sizes = {service.name: _rss(service) for service in self.running}


def _unforeseen(event: dict[str, Any]) -> bool:
    return "text" in event or (event.get("level") in ("error", "critical") and event.get("event") not in FORESEEN)


def _rss(service: Service) -> int:
    """KiB of memory of a service's process."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Services of every kind on servers of their own."""
    data = Path(tempfile.mkdtemp(prefix="dtq-pg-"))  # not in pytest's folder: it is closed to PostgreSQL's account
    valkey = ValkeyServer(tmp_path_factory.mktemp("fuzzed-valkey"), durable=False)
    postgres = PostgresServer(data, settings={"fsync": "off", "full_page_writes": "off"})
    try:
        valkey.start()
        postgres.start()
        migrate(postgres.url)
        folder = tmp_path_factory.mktemp("fuzzed")
        common = {"REDISADDR": valkey.url, "DATABASEURL": postgres.url, "HANDLERS": "worker_jobs", "QUEUES": "*", "LEASESECONDS": 5}
        with (
            services("submitter", "worker", "scheduler", folder=folder, **common) as running,
            redis.Redis.from_url(valkey.url) as client,
            httpx.Client(timeout=120) as http,
        ):
            yield Stand(running, client, http)
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(data, ignore_errors=True)


def test_garbage_in_keys_of_the_right_type(stand: Stand) -> None:
    junk: list[str] = []

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(writes(), min_size=1, max_size=20))
    def attack(commands: list[tuple[Any, ...]]) -> None:
        good = stand.submit("good")
        for command in commands:
            stand.redis.execute_command(*command)
        good += stand.submit("good")
        junk.extend(stand.submit("junk"))
        stand.look()
        stand.succeed(good)

    try:
        attack()
        stand.succeed(junk)
        stand.look()
        stand.check()
    finally:
        _clear(stand, "dtq:{junk}:*", "{dtq:schedules}:*")


def _clear(stand: Stand, *patterns: str) -> None:
    for pattern in patterns:
        for key in stand.redis.scan_iter(pattern, count=1000):
            stand.redis.delete(key)


def _write_over(stand: Stand, key: str, kind: str) -> None:
    """Put something of another type there."""
    stand.redis.delete(key)
    if kind == "string":
        stand.redis.rpush(key, "oops")
    else:
        stand.redis.set(key, "oops")


def _is_told(answer: httpx.Response, queue: str) -> bool:
    """An answer about a damaged queue is the one that its keys allow, or says what is wrong."""
    if answer.status_code == 500:
        problem = answer.json()
        assert problem["type"] == "urn:dtq:problem:queue-damaged", answer.text
        assert f"a key of '{queue}' in Redis is not as DTQ wrote it" in problem["detail"]
        return True
    assert answer.status_code in (200, 202), answer.text
    return False


def test_keys_of_another_type_hold_up_their_own_queues_only(stand: Stand) -> None:
    """One queue for each key, all damaged at the same time."""
    damaged = {f"wrong-{number}": key for number, key in enumerate(QUEUE_KEYS)}
    stand.succeed(stand.submit(*damaged))
    try:
        for queue, key in damaged.items():
            _write_over(stand, f"dtq:{{{queue}}}:{key}", QUEUE_KEYS[key])
        accepted: list[str] = []
        told = set()
        for queue in damaged:
            answer = stand.post(queue)
            if _is_told(answer, queue):
                told.add(queue)
            else:
                accepted.append(answer.json()["id"])
            for path in (f"/queues/{queue}", f"/jobs?queue={queue}"):
                if _is_told(stand.get(path), queue):
                    told.add(queue)
        assert {damaged[queue] for queue in told} >= {"h", "n", "l", "f", "delayed"}
        took = []
        for _ in range(10):
            began = time.monotonic()
            stand.succeed(stand.submit(*["good"] * 5))
            took.append(time.monotonic() - began)
            stand.look()
        assert statistics.median(took) < FULL_SPEED, took
        shown = {queue["name"] for queue in stand.get("/queues").json()["queues"]}
        assert "good" in shown
        assert shown.isdisjoint(queue for queue in told if stand.get(f"/queues/{queue}").status_code == 500)
    finally:
        for queue, key in damaged.items():
            if stand.redis.type(f"dtq:{{{queue}}}:{key}").decode() != QUEUE_KEYS[key]:
                stand.redis.delete(f"dtq:{{{queue}}}:{key}")
    stand.succeed([*accepted, *stand.submit(*damaged)])
    stand.check()
    events = {event.get("queue") for service in stand.running for event in service.events() if event.get("event") == "queue_damaged"}
    assert events >= told


def test_schedules_keys_of_another_type_hold_up_no_job(stand: Stand) -> None:
    for key, kind in SCHEDULE_KEYS.items():
        full = f"{{dtq:schedules}}:{key}"
        stand.redis.zadd("{dtq:schedules}:names", {"bad": 0})
        try:
            _write_over(stand, full, kind)
            stand.succeed(stand.submit("good"))
            assert stand.get("/jobs").status_code == 200
            _is_told(stand.get("/schedules"), "dtq:schedules")
        finally:
            stand.redis.delete(full)
        assert stand.get("/schedules").status_code == 200
    stand.redis.delete("{dtq:schedules}:names")
    stand.check()


def test_names_of_queues_are_found_again_where_somebody_wrote_over_them(stand: Stand) -> None:
    _write_over(stand, "dtq:queues", "set")
    until(lambda: stand.post("good").status_code == 202 and stand.redis.type("dtq:queues") == b"set", "the names are written again")
    stand.succeed(stand.submit("good"))
    until(lambda: "good" in stand.get("/queues").text, "the queue is shown")
    stand.look()
    stand.check()


@pytest.mark.parametrize("name", [b"\xff", b"", b"a b", b"x" * 500, b"}{", b"*"])
def test_names_that_no_queue_can_have(stand: Stand, name: bytes) -> None:
    stand.redis.sadd("dtq:queues", name)
    try:
        jobs = stand.submit("good", "good", "good")
        stand.look()
        stand.succeed(jobs)
        stand.check()
    finally:
        stand.redis.srem("dtq:queues", name)
