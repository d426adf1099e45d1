"""The worker's long-lived tasks: what one bad item or a fault that nobody foresaw does to all the others, which is nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from dtq.errors import Permanent, QueueDamaged, QueueUnavailable
from dtq.job import JobError, TerminalJob
from dtq.queue import keys
from dtq.queue.claims import ClaimedJob, Finish, Finished
from dtq.retry import Backoff
from dtq_worker import recorder, reporter
from dtq_worker.outcome import Ending, Outcome, Policy, conclude
from dtq_worker.progress import Progress
from dtq_worker.recorder import Recorder
from dtq_worker.reporter import Reporter

POLICY = Policy(0, Backoff())


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "delay", lambda *_: 0.0)


def ending(number: int, queue: str = "default", result: bytes = b"1") -> Ending:
    job = ClaimedJob(f"{number}-{queue}", queue, "noop", b"{}", "n", f"{number}-0", 1)
    return conclude(job, "w", Outcome("succeeded", 1, 2, result), POLICY)


class FakeClaims:
    """Takes endings, but for those that ``refuse`` returns an error for."""

    def __init__(self) -> None:
        self.calls: list[list[Finish]] = []
        self.taken: dict[str, str] = {}
        self.refused = 0
        self.refuse: Callable[[str, Finish], Exception | None] = lambda _queue, _end: None

    async def finish(self, queue: str, ends: Sequence[Finish]) -> Finished:
        await asyncio.sleep(0)
        for end in ends:
            if (error := self.refuse(queue, end)) is not None:
                self.refused += 1
                raise error
        self.calls.append(list(ends))
        self.taken |= {end.job.id: end.op for end in ends}
        return Finished(f"{len(self.calls)}-1", set(), set())


class Bench:
    def __init__(self) -> None:
        self.claims = FakeClaims()
        self.rows: list[TerminalJob] = []
        self.dropped: list[str] = []
        self.shunned: list[str] = []
        self.reporter = Reporter(self.claims, self._recorded, lambda _: None, self._spoiled, self.dropped.append, self.shunned.append)  # type: ignore[arg-type]

    def _recorded(self, _queue: str, _entry: str, rows: list[TerminalJob], _size: int) -> None:
        self.rows += rows

    def _spoiled(self, bad: Ending, error: Exception) -> Ending:
        return conclude(bad.finish.job, "w", Outcome("failed", 1, 2, error=JobError("error", str(error)), cause=Permanent()), POLICY)

    async def report(self, *endings: Ending) -> None:
        for item in endings:
            self.reporter.add(item)
        await asyncio.wait_for(self.reporter.flush(), 10)


@pytest.mark.parametrize("error", [ResponseError("WRONGTYPE of its record"), TypeError("unforeseen")], ids=["server", "client"])
@pytest.mark.parametrize("position", [0, 60, 99])
async def test_a_refused_ending_fails_its_job_and_all_others_are_reported(position: int, error: Exception) -> None:
    bench = Bench()
    bench.claims.refuse = lambda _, end: error if end.job.id == f"{position}-default" and end.op == "k" else None
    await bench.report(*(ending(number) for number in range(100)))
    assert bench.claims.taken == {f"{number}-default": "f" if number == position else "k" for number in range(100)}
    assert len(bench.rows) == 100


async def test_an_ending_refused_in_any_form_is_dropped_for_recovery() -> None:
    bench = Bench()
    bench.claims.refuse = lambda _, end: ResponseError("no") if end.job.id == "3-default" else None
    more = iter(range(100, 10_000))

    async def feed() -> None:
        while not bench.dropped:
            bench.reporter.add(ending(next(more)))
            await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(bench.report(*(ending(number) for number in range(10))), feed()), 10)
    await bench.reporter.flush()
    assert bench.dropped == ["default"]
    assert "3-default" not in bench.claims.taken
    assert {f"{number}-default" for number in range(10) if number != 3} <= set(bench.claims.taken)
    assert bench.reporter.jobs() == []


async def test_a_damaged_queue_holds_up_no_other_and_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not take is sent again later; meanwhile it is told, and the others' endings go at once."""
    monkeypatch.setattr(Backoff, "delay", lambda *_: 3600.0)
    bench = Bench()
    bench.claims.refuse = lambda queue, _: QueueDamaged(queue, "WRONGTYPE") if queue == "bad" else None
    for number in range(20):
        await bench.report(ending(number, "bad"), ending(number))
    assert {job for job in bench.claims.taken if job.endswith("default")} == {f"{number}-default" for number in range(20)}
    assert bench.claims.refused == 1
    assert bench.shunned == ["bad"]
    assert (bench.reporter.backlog, bench.dropped) == (20, [])
    await bench.reporter.close()


async def test_a_damaged_queue_that_was_repaired_takes_its_endings() -> None:
    bench = Bench()
    bench.claims.refuse = lambda queue, _: QueueDamaged(queue, "WRONGTYPE") if bench.claims.refused < 50 else None
    for number in range(600):
        bench.reporter.add(ending(number, "bad"))
    async with asyncio.timeout(10):
        while bench.reporter.backlog:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
    assert set(bench.claims.taken.values()) == {"k"}
    assert len(bench.rows) == 600


@pytest.mark.parametrize("error", [ResponseError("no"), QueueUnavailable("away")], ids=["refused", "away"])
async def test_a_queue_that_refuses_everything_keeps_its_endings_until_it_is_repaired(error: Exception) -> None:
    bench = Bench()
    bench.claims.refuse = lambda queue, _: error if queue == "bad" and bench.claims.refused < 60 else None
    await bench.report(*(ending(number, queue) for number in range(5) for queue in ("bad", "default")))
    assert set(bench.claims.taken.values()) == {"k"}
    assert len(bench.rows) == 10
    assert [end.job.queue for end in bench.claims.calls[0]] == ["default"] * 5


async def test_a_call_carries_a_bounded_number_of_bytes() -> None:
    bench = Bench()
    await bench.report(*(ending(number, result=b'"' + b"x" * 1_000_000 + b'"') for number in range(10)))
    sizes = [sum(len(end.text) for end in call) for call in bench.claims.calls]
    assert max(sizes) <= reporter.MAX_BYTES
    assert len(bench.rows) == 10


# ---------------------------------------------------------------- recorder


class FakeStore:
    """Stores rows; the first inserts raise ``faults``."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.rows: list[TerminalJob] = []

    async def insert(self, rows: list[TerminalJob]) -> int:
        if self.faults:
            raise self.faults.pop()
        self.rows += rows
        return len(rows)


class FakeClient:
    def __init__(self, damaged: str = "") -> None:
        self.damaged = damaged
        self.cleared: list[str] = []

    async def xdel(self, key: str, *ids: str) -> None:
        if self.damaged and self.damaged in key:
            raise ResponseError("WRONGTYPE")
        self.cleared += [f"{key} {entry}" for entry in ids]

    def pipeline(self, transaction: bool) -> FakePipeline:
        assert not transaction
        return FakePipeline(self)


class FakePipeline:
    def __init__(self, client: FakeClient) -> None:
        self.client = client
        self.calls: list[str] = []

    def pexpire(self, key: str, ms: int, lt: bool) -> None:
        assert lt, "a key is never kept for longer than before"
        self.calls.append(f"{key} within {ms} ms")

    async def execute(self) -> None:
        self.client.cleared += self.calls


def row(number: int, queue: str = "default") -> TerminalJob:
    found = ending(number, queue).row
    assert found is not None
    return found


async def recorded(store: FakeStore, client: FakeClient, *entries: tuple[str, int]) -> Recorder:
    keeper = Recorder(store, client, 1000)
    for queue, number in entries:
        keeper.add(queue, f"{number}-1", [row(number, queue)], 100)
        task: Any = keeper._task
        await asyncio.wait_for(task, 10)
    return keeper


async def test_one_damaged_outbox_does_not_block_the_others() -> None:
    store, client = FakeStore(), FakeClient("{bad}")
    keeper = Recorder(store, client, 1000)
    for number, queue in enumerate(("bad", "default", "other")):
        keeper.add(queue, f"{number}-1", [row(number, queue)], 100)
    await keeper.flush(10)
    assert len(store.rows) == 3
    assert client.cleared == ["dtq:{default}:outbox 1-1", "dtq:{other}:outbox 2-1"]
    assert (keeper._batches, keeper._held, keeper._bytes) == ([], 0, 0)


async def test_an_unforeseen_fault_of_the_store_is_tried_again() -> None:
    store = FakeStore(KeyError("odd"))
    await recorded(store, FakeClient(), ("default", 1))
    assert len(store.rows) == 1


async def test_rows_that_cannot_be_stored_are_left_to_the_outbox() -> None:
    store, client = FakeStore(*[KeyError("odd")] * recorder.TRIES), FakeClient()
    keeper = await recorded(store, client, ("default", 1), ("default", 2))
    assert [found.id for found in store.rows] == ["2-default"]
    assert client.cleared == ["dtq:{default}:done:2-default within 1000 ms", "dtq:{default}:outbox 2-1"]
    assert not keeper.failing


@pytest.mark.parametrize("why", ["nothing runs", "many rows"])
async def test_rows_wait_for_others_while_jobs_run(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "GATHER", itertools.repeat(0.001))
    store, running = FakeStore(), True
    keeper = Recorder(store, FakeClient(), 1000, lambda: running)
    for number in range(3):
        keeper.add("default", f"{number}-1", [row(number)], 100)
        await asyncio.sleep(0.01)
    assert store.rows == []
    if why == "nothing runs":
        running = False
    else:
        keeper.add("default", "9-1", [row(number) for number in range(10, 10 + recorder.MANY)], 100)
    task: Any = keeper._task
    await asyncio.wait_for(task, 60)
    assert len(store.rows) == (3 if why == "nothing runs" else 3 + recorder.MANY)


async def test_rows_wait_no_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "GATHER", [0.001] * 3)
    store = FakeStore()
    keeper = Recorder(store, FakeClient(), 1000, lambda: True)
    keeper.add("default", "1-1", [row(1)], 100)
    task: Any = keeper._task
    await asyncio.wait_for(task, 60)
    assert len(store.rows) == 1


async def test_progress_of_jobs_that_have_ended_is_not_written() -> None:
    """It would stay in Redis for an hour, and nobody is shown it."""
    written: list[str] = []

    class Pipeline:
        def set(self, key: str, _value: bytes, px: int) -> None:
            assert px > 0
            written.append(key)

        async def execute(self) -> None:
            pass

    progress = Progress(SimpleNamespace(pipeline=lambda transaction: Pipeline()), lambda: {"running"})
    progress.report("default", "running", 0.5, "half a character: \ud800")
    progress.report("default", "ended", 0.9, "")
    await asyncio.sleep(0)
    assert written == [keys.progress("default", "running")]
    await progress.close()


async def test_no_more_bytes_are_held_than_allowed() -> None:
    keeper = Recorder(FakeStore(), FakeClient(), 1000)
    for number in range(3):
        keeper.add("default", f"{number}-1", [row(number)], recorder.MAX_BYTES // 2)
    assert len(keeper._batches) == 2
    await keeper.close()
