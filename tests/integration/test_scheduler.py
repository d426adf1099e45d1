"""The scheduler's roles on a real Valkey and PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dtq.errors import StoreUnavailable
from dtq.ids import tick_id
from dtq.job import NewJob, State, TerminalJob
from dtq.queue import FireTick, Queue, keys
from dtq.queue.claims import Claims, Finish
from dtq.roles import each
from dtq.schedule.entry import Entry
from dtq.schedule.spec import ScheduleSpec, parse_spec
from dtq.schedule.store import ScheduleStore
from dtq.schedule.trigger import trigger
from dtq.storage import Store
from dtq_scheduler.duties import Forwarder, Janitor, Recoverer, Sweeper
from dtq_scheduler.metrics import Gauges, QueueCollector, ScheduleMetrics, make_registry
from dtq_scheduler.ticker import Ticker
from dtq_scheduler.watcher import Watcher

MINUTE = 60_000


def spec(**changes: Any) -> ScheduleSpec:
    # Once a year, so that no tick of its own comes in between; tests make an entry that has missed the last one.
    return parse_spec({"schedule": "0 0 1 1 *", "jobTemplate": {"type": "email"}, **changes})


@pytest.fixture
def registry() -> CollectorRegistry:
    return make_registry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ScheduleMetrics:
    return ScheduleMetrics(registry)


@pytest.fixture
def ticker(tasks: Queue, schedules: ScheduleStore, metrics: ScheduleMetrics) -> Ticker:
    return Ticker(tasks, schedules, metrics)


@pytest.fixture
def watcher(tasks: Queue, schedules: ScheduleStore) -> Watcher:
    return Watcher(tasks, schedules, Store("postgresql://127.0.0.1:1/none"))


async def make_due(schedules: ScheduleStore, name: str = "n", **changes: Any) -> Entry:
    """An entry with one unmet tick: it was made two years ago, and its last start was a year before that tick's."""
    now = await schedules.now()
    await schedules.put(name, spec(**changes), created=now - 366 * 24 * 60 * MINUTE)
    return await entry_of(schedules, name)


async def entry_of(schedules: ScheduleStore, name: str = "n") -> Entry:
    entry = await schedules.get(name)
    assert entry is not None
    return entry


async def reasons(schedules: ScheduleStore, name: str = "n") -> list[str]:
    return [event.reason for event in (await schedules.history(name)).events]


async def run_all(tasks: Queue, queue: str = "default", state: State = State.SUCCEEDED) -> list[str]:
    """Claim and end every job of a queue."""
    claims = Claims(tasks.client, "w1", 60_000, 60_000, 60_000)
    claim = await claims.claim(queue, 100)
    ends = []
    for job in claim.jobs:
        done = TerminalJob(
            id=job.id,
            queue=queue,
            type=job.type,
            state=state,
            submitted=job.submitted,
            finished=claim.now,
            payload=msgspec.Raw(job.payload),
            schedule=job.schedule,
        )
        ends.append(Finish(job, "k" if state is State.SUCCEEDED else "f", msgspec.json.encode(done)))
    await claims.finish(queue, ends)
    await claims.leave(queue)
    return [job.id for job in claim.jobs]


async def look_now(tasks: Queue, schedules: ScheduleStore, watcher: Watcher, name: str = "n") -> None:
    """Let the watcher look at an entry at once."""
    await tasks.client.zadd("{dtq:schedules}:watch", {name: 0})
    await watcher.step()


async def test_a_due_tick_starts_its_job(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    await make_due(schedules)
    await ticker.step()
    entry = await entry_of(schedules)
    assert entry.last is not None
    assert list(entry.runs.items()) == [(tick_id(entry.uid, entry.last, "default"), entry.last)]
    job = await tasks.get(next(iter(entry.runs)))
    assert job is not None
    assert (job.state, job.type, job.schedule) == (State.QUEUED, "email", "n")
    status = entry.status()
    assert status["lastScheduleTime"].endswith("-01-01T00:00:00Z")
    assert status["active"] == [{"jobId": job.id, "scheduledTime": status["lastScheduleTime"]}]


async def test_a_tick_that_was_fired_but_not_noted_is_not_fired_again(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    entry = await make_due(schedules)
    await ticker.step()
    started = await entry_of(schedules)
    await schedules.delete("n")
    await schedules.put("n", entry.spec, owner="o", uid=entry.uid, generation=1, created=entry.created)
    await ticker.step()
    assert (await entry_of(schedules)).runs == started.runs
    assert [stats.ready for stats in await tasks.stats(["default"])] == [1]


async def test_two_schedulers_fire_once(schedules: ScheduleStore, tasks: Queue, metrics: ScheduleMetrics) -> None:
    for number in range(50):
        await make_due(schedules, f"n{number}")
    tickers = [Ticker(tasks, schedules, metrics) for _ in range(4)]
    for _ in range(2):
        await tasks.client.zadd("{dtq:schedules}:due", {f"n{number}": 0 for number in range(50)})
        await asyncio.gather(*(one.step() for one in tickers))
    assert [stats.ready for stats in await tasks.stats(["default"])] == [50]


async def test_a_thousand_ticks_of_one_minute_all_fire_once(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    async def make(name: str) -> None:
        await make_due(schedules, name)

    await each([f"n{number}" for number in range(1000)], make, 32)
    steps = 0
    while (await tasks.stats(["default"]))[0].ready < 1000:
        await ticker.step()
        steps += 1
        assert steps < 100
    await ticker.step()
    assert (await tasks.stats(["default"]))[0].ready == 1000


async def test_a_tick_past_its_deadline_is_told_and_counted(
    ticker: Ticker, schedules: ScheduleStore, tasks: Queue, registry: CollectorRegistry
) -> None:
    await make_due(schedules, startingDeadlineSeconds=1)
    await ticker.step()
    entry = await entry_of(schedules)
    assert (entry.last, entry.runs, await reasons(schedules)) == (None, {}, ["MissSchedule"])
    assert entry.next is not None
    assert registry.get_sample_value("dtq_schedule_missed_total", {"reason": "MissSchedule"}) == 1.0


async def test_more_than_100_missed_ticks_start_one_job(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    await make_due(schedules, schedule="* * * * *")
    await ticker.step()
    assert await reasons(schedules) == ["TooManyMissedTimes"]
    assert [stats.ready for stats in await tasks.stats(["default"])] == [1]


async def test_forbid_waits_until_the_run_ends(ticker: Ticker, watcher: Watcher, schedules: ScheduleStore, tasks: Queue) -> None:
    await make_due(schedules, concurrencyPolicy="Forbid")
    by_hand = await trigger(schedules, tasks, "n")
    await ticker.step()
    assert (await entry_of(schedules)).last is None
    assert await reasons(schedules) == ["JobAlreadyActive"]
    assert await run_all(tasks) == [by_hand]
    await look_now(tasks, schedules, watcher)
    await ticker.step()
    entry = await entry_of(schedules)
    assert entry.last is not None
    assert (len(entry.runs), entry.blocked) == (1, None)


async def test_forbid_sees_a_run_in_the_queue_named_before(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    await make_due(schedules, concurrencyPolicy="Forbid")
    await trigger(schedules, tasks, "n")
    await schedules.put("n", spec(concurrencyPolicy="Forbid", jobTemplate={"type": "email", "queue": "other"}))
    await ticker.step()
    assert await reasons(schedules) == ["JobAlreadyActive"]


@pytest.mark.parametrize("queue", ["default", "other"])
async def test_replace_cancels_the_active_run(ticker: Ticker, schedules: ScheduleStore, tasks: Queue, queue: str) -> None:
    await make_due(schedules, concurrencyPolicy="Replace")
    await ticker.step()
    [first] = (await entry_of(schedules)).runs
    changed = spec(schedule="* * * * *", concurrencyPolicy="Replace", jobTemplate={"type": "email", "queue": queue})
    await schedules.put("n", changed)
    await tasks.client.zadd("{dtq:schedules}:due", {"n": 0})
    await ticker.step()
    cancelled = await tasks.get(first)
    assert cancelled is not None
    assert cancelled.state == State.CANCELLED
    assert [stats.ready for stats in await tasks.stats([queue])] == [1]


async def test_an_entry_of_an_unknown_zone_is_told_and_kept(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    entry = await make_due(schedules)
    text = entry.spec.model_copy(update={"timeZone": "Mars/Base"}).text()
    await tasks.client.hset("{dtq:schedules}:e:n", "spec", text)
    await ticker.step()
    assert await reasons(schedules) == ["InvalidSchedule"]
    assert (await schedules.due(10, 0)).next is not None


async def test_a_tick_fires_at_its_moment(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    await schedules.put("n", spec(schedule="@every 1s"))
    deadline = time.monotonic() + 60
    while (await tasks.stats(["default"]))[0].ready == 0:
        assert time.monotonic() < deadline, "no tick was fired"
        await asyncio.sleep(await ticker.step())
    entry = await entry_of(schedules)
    assert entry.last is not None
    assert await schedules.now() - entry.last < 60_000


@pytest.mark.parametrize(("state", "kind"), [(State.SUCCEEDED, "succeeded"), (State.FAILED, "failed")])
async def test_the_end_of_a_run_is_in_status_and_history(
    ticker: Ticker, watcher: Watcher, schedules: ScheduleStore, tasks: Queue, state: State, kind: str
) -> None:
    await make_due(schedules)
    await ticker.step()
    [run] = await run_all(tasks, state=state)
    await look_now(tasks, schedules, watcher)
    entry = await entry_of(schedules)
    assert entry.runs == {}
    assert (entry.success is not None) == (state is State.SUCCEEDED)
    history = await schedules.history("n")
    assert [ended.id for ended in getattr(history, kind)] == [run]
    assert await tasks.runs("default", entry.uid) == []
    assert await tasks.client.zcard("{dtq:schedules}:watch") == 0


async def test_a_run_that_redis_forgot_is_looked_up_in_postgresql(
    ticker: Ticker, schedules: ScheduleStore, tasks: Queue, store: Store
) -> None:
    await make_due(schedules)
    await ticker.step()
    [run] = await run_all(tasks)
    [(_, rows)] = await tasks.read_outbox("default")
    await store.insert(rows)
    await tasks.client.delete(keys.done("default", run))
    await look_now(tasks, schedules, Watcher(tasks, schedules, store))
    assert [ended.id for ended in (await schedules.history("n")).succeeded] == [run]


async def test_a_run_whose_end_nobody_can_tell_yet_stays_active(
    ticker: Ticker, watcher: Watcher, schedules: ScheduleStore, tasks: Queue
) -> None:
    await make_due(schedules)
    await ticker.step()
    [run] = await run_all(tasks)
    await tasks.client.delete(keys.done("default", run))
    await look_now(tasks, schedules, watcher)
    assert list((await entry_of(schedules)).runs) == [run]


async def test_the_sweeper_stores_what_workers_left(tasks: Queue, store: Store) -> None:
    [job] = await tasks.submit([NewJob("email", b"{}")])
    await run_all(tasks)
    sweeper = Sweeper(tasks, store)
    sweeper.OLDER_MS = 0
    await sweeper.step()
    row = await store.get(job.id)
    assert row is not None
    assert row.state == State.SUCCEEDED
    assert await tasks.outbox_length(["default"]) == 0


async def test_what_the_sweeper_stored_is_kept_in_redis_no_longer_than_usual(tasks: Queue, store: Store) -> None:
    """Its worker had it kept for days, since PostgreSQL was away."""
    [job] = await tasks.submit([NewJob("email", b"{}")])
    await run_all(tasks)
    kept = keys.done("default", job.id)
    await tasks.client.pexpire(kept, 7 * 86_400_000)
    sweeper = Sweeper(tasks, store)
    sweeper.OLDER_MS = 0
    await sweeper.step()
    assert 0 < await tasks.client.pttl(kept) <= 300_000


async def test_the_sweeper_leaves_what_postgresql_did_not_take(tasks: Queue) -> None:
    await tasks.submit([NewJob("email", b"{}")])
    await run_all(tasks)
    away = Store("postgresql://127.0.0.1:1/none")
    await away.open()
    sweeper = Sweeper(tasks, away)
    sweeper.OLDER_MS = 0
    with pytest.raises(StoreUnavailable):
        await sweeper.step()
    assert await tasks.outbox_length(["default"]) == 1
    await away.close()


async def test_the_sweeper_leaves_young_results_to_their_worker(tasks: Queue, store: Store) -> None:
    await tasks.submit([NewJob("email", b"{}")])
    await run_all(tasks)
    sweeper = Sweeper(tasks, store)
    assert sweeper.OLDER_MS > 0
    sweeper.OLDER_MS = 600_000  # young, however long this test is held up
    await sweeper.step()
    assert await tasks.outbox_length(["default"]) == 1


async def test_the_recoverer_gives_a_dead_workers_job_to_others(tasks: Queue) -> None:
    await tasks.submit([NewJob("email", b"{}")])
    dead = Claims(tasks.client, "dead", 1, 60_000, 60_000)
    assert len((await dead.claim("default", 1)).jobs) == 1
    recoverer = Recoverer(tasks)
    deadline = time.monotonic() + 60
    while (await tasks.stats(["default"]))[0].ready == 0:
        assert time.monotonic() < deadline, "the job was not reclaimed"
        await recoverer.step()


async def test_the_forwarder_makes_due_jobs_ready(tasks: Queue) -> None:
    await tasks.submit([NewJob("email", b"{}", delay_ms=1)])
    forwarder = Forwarder(tasks)
    deadline = time.monotonic() + 60
    while (await tasks.stats(["default"]))[0].ready == 0:
        assert time.monotonic() < deadline, "the job was not promoted"
        await forwarder.step()


async def test_the_janitor_maintains_the_table(store: Store) -> None:
    assert await Janitor(store, 30).step() == 3600.0


async def test_queue_and_schedule_gauges(
    ticker: Ticker, watcher: Watcher, schedules: ScheduleStore, tasks: Queue, registry: CollectorRegistry
) -> None:
    await make_due(schedules)
    await ticker.step()
    await run_all(tasks)
    await look_now(tasks, schedules, watcher)
    await tasks.submit([NewJob("email", b"{}")])
    collector = QueueCollector()
    registry.register(collector)
    await Gauges(tasks, schedules, collector).step()
    text = generate_latest(registry).decode()
    assert 'dtq_queue_jobs{queue="default",state="ready"} 1.0' in text
    assert 'dtq_queue_demand{queue="default"} 1.0' in text
    assert 'dtq_queue_paused{queue="default"} 0.0' in text
    assert 'dtq_outbox_entries{queue="default"} 1.0' in text
    assert re.search(r'^dtq_outbox_oldest_age_seconds{queue="default"} [\d.]+$', text, re.MULTILINE)
    assert re.search(r'^dtq_redis_memory_used_bytes{node="127.0.0.1:\d+"} \d', text, re.MULTILINE)
    assert 'dtq_schedule_last_success_timestamp_seconds{name="n",namespace=""}' in text
    assert 'dtq_build_info{service="scheduler"' in text


async def test_a_fire_by_another_program_blocks_the_same_minute(ticker: Ticker, schedules: ScheduleStore, tasks: Queue) -> None:
    entry = await make_due(schedules)
    await tasks.fire(FireTick(entry.uid, "n", await schedules.now(), "Allow", entry.spec.jobTemplate.job()))
    await ticker.step()
    assert [stats.ready for stats in await tasks.stats(["default"])] == [1]
