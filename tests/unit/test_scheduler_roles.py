"""Roles outlive faults, stop in time; lateness as a metric."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from dtq.errors import QueueDamaged, QueueUnavailable
from dtq.queue import QueueStats
from dtq.retry import Backoff
from dtq.roles import Role, Roles, each
from dtq.schedule.entry import Entry
from dtq.schedule.spec import parse_spec
from dtq.schedule.store import Observed
from dtq_scheduler.duties import interval
from dtq_scheduler.metrics import QueueCollector, ScheduleMetrics, make_registry
from dtq_scheduler.servers import Memory
from dtq_scheduler.watcher import pause_ms

SPEC = parse_spec({"schedule": "@daily", "jobTemplate": {"type": "email"}})


def entry(next_tick: int | None = None, blocked: int | None = None) -> Entry:
    return Entry(name="n", uid="u", generation=1, spec=SPEC, created=0, next=next_tick, blocked=blocked)


class Steps:
    """A role's step that does what it is told, and ends the role when there is nothing more to do."""

    def __init__(self, stop: asyncio.Event, *outcomes: BaseException | float) -> None:
        self._outcomes: Iterator[BaseException | float] = iter(outcomes)
        self._stop = stop
        self.done = 0

    async def __call__(self) -> float:
        self.done += 1
        outcome = next(self._outcomes, None)
        if outcome is None:
            self._stop.set()
            return 0.0
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@pytest.mark.parametrize("fault", [QueueUnavailable("away"), QueueDamaged("dtq:schedules", "WRONGTYPE"), ValueError("a bug")])
async def test_a_role_goes_on_after_faults(fault: Exception) -> None:
    stop = asyncio.Event()
    steps = Steps(stop, fault, fault, 0.0)
    await Role("r", steps, Backoff(base=0.001, cap=0.002)).run(stop)
    assert steps.done == 4


async def test_waiting_roles_stop_at_once() -> None:
    async def step() -> float:
        return 3600.0

    roles = Roles([Role("a", step), Role("b", step)])
    roles.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(60):  # of the hour that they wait
        await roles.stop()


async def test_a_step_under_way_ends_before_the_role_stops() -> None:
    entered, leave, done = asyncio.Event(), asyncio.Event(), []

    async def step() -> float:
        entered.set()
        await leave.wait()
        done.append(True)
        return 3600.0

    roles = Roles([Role("r", step)])
    roles.start()
    await entered.wait()
    stopping = asyncio.create_task(roles.stop())
    leave.set()
    await stopping
    assert done == [True]


async def test_each_does_all_even_if_some_fail() -> None:
    seen: list[int] = []

    async def act(item: int) -> None:
        seen.append(item)
        if item == 1:
            raise QueueUnavailable("away")

    with pytest.raises(QueueUnavailable):
        await each(range(5), act, at_once=2)
    assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("queues", "seconds"), [(1, 0.5), (100, 0.5), (200, 1.0), (10_000, 2.5)])
def test_many_queues_are_looked_at_less_often(queues: int, seconds: float) -> None:
    assert interval(0.5, queues) == seconds


def test_young_runs_and_those_waited_for_are_looked_at_closely() -> None:
    assert pause_ms(entry(), [], 100_000) is None
    assert pause_ms(entry(), [Observed("i", 99_000, "live")], 100_000) == 500
    assert pause_ms(entry(), [Observed("i", 40_000, "live")], 100_000) == 6000
    assert pause_ms(entry(), [Observed("i", 0, "live")], 10_000_000) == 10_000
    assert pause_ms(entry(blocked=5), [Observed("i", 0, "live")], 10_000_000) == 250


def test_lag_is_the_worst_of_the_last_minute() -> None:
    clock = [0.0]
    metrics = ScheduleMetrics(make_registry(), lambda: clock[0])
    metrics.started(entry(next_tick=1000), 3000)
    metrics.started(entry(next_tick=1000), 1500)
    assert metrics.lag() == 2.0
    clock[0] = 61.0
    assert metrics.lag() == 0.0


def test_a_tick_that_was_unmet_by_intent_is_not_late() -> None:
    metrics = ScheduleMetrics(make_registry(), lambda: 0.0)
    metrics.started(entry(next_tick=9_000_000), 8_000_000)
    metrics.started(entry(next_tick=None), 8_000_000)
    assert metrics.lag() == 0.0


def test_lag_grows_while_a_due_tick_cannot_be_seen_to() -> None:
    clock = [0.0]
    metrics = ScheduleMetrics(make_registry(), lambda: clock[0])
    metrics.looked(now=10_000, next_due=15_000)
    assert metrics.lag() == 0.0
    clock[0] = 65.0
    assert metrics.lag() == 60.0


def test_queue_gauges_vanish_when_they_cannot_be_renewed() -> None:
    clock = [0.0]
    registry = make_registry()
    collector = QueueCollector(lambda: clock[0])
    registry.register(collector)
    collector.renew([QueueStats("q", 1, 0, 0, 0, 0, 0.0, False, 0, 0)], {"ns.n": (5000, "prod/ns")}, {}, [Memory("r:6379", 7, 0)])
    text = generate_latest(registry).decode()
    assert 'dtq_queue_demand{queue="q"} 1.0' in text
    assert 'dtq_schedule_last_success_timestamp_seconds{name="ns.n",namespace="ns"} 5.0' in text
    assert 'dtq_redis_memory_used_bytes{node="r:6379"} 7.0' in text
    clock[0] = 31.0
    stale = generate_latest(registry).decode()
    assert "dtq_queue_demand{" not in stale
    assert "dtq_redis_memory_used_bytes{" not in stale


async def test_a_damaged_queue_is_no_fault_of_a_step_over_all() -> None:
    seen = []

    async def act(name: str) -> None:
        if name == "bad":
            raise QueueDamaged(name, "WRONGTYPE")
        seen.append(name)

    await each(["a", "bad", "b"], act, 1)
    assert seen == ["a", "b"]
