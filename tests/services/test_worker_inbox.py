"""Jobs that are handed to an idle worker: none waits in a box, none is lost on its way out of it."""

from __future__ import annotations

import asyncio
import time

import pytest
from faultkit.proxy import Link
from worker_bench import Bench, until

from dtq.embedded import ValkeyServer
from dtq.queue import keys
from dtq_worker.worker import Worker

FAR = (60.0, 60.0)


@pytest.fixture(autouse=True)
def no_look_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests see was handed over, not found by looking."""
    monkeypatch.setattr("dtq_worker.fetcher.LOOK_AROUND", FAR)


async def idle_in(bench: Bench, *queues: str) -> None:
    """Return when workers are known as idle in all these queues."""

    async def known() -> bool:
        return all([await bench.queue.client.exists(keys.idle(name)) for name in queues])

    await until(f"a worker is idle in {queues}", known)


async def test_an_idle_worker_is_handed_jobs(bench: Bench) -> None:
    worker = await bench.worker()
    for number in range(5):
        await idle_in(bench, "default")
        gate = bench.gate(f"gate-{number}")
        job = await bench.view(await bench.submit("held", {"gate": gate}))
        assert (job.state, job.attempts[0].worker) == ("running", worker.name)  # by the submit itself
        gate.open()
        await bench.ended(job.id)


async def test_a_job_lost_between_box_and_worker_is_given_back(bench: Bench, valkey_server: ValkeyServer) -> None:
    """The connection breaks while the server answers the blocking read: the job has left the box, and nobody has it."""
    link = Link(valkey_server.port)
    try:
        trap = link.trap(b"BLPOP")
        await bench.worker(redisaddr=await link.open(), leaseseconds=30.0)
        await idle_in(bench, "default")
        await bench.idle()
        job = await bench.run("echo")
        assert (trap.sprung, job.state, len(job.attempts)) == (1, "succeeded", 1)
    finally:
        await link.close()


async def test_a_job_in_the_box_of_a_full_worker_goes_to_another(bench: Bench) -> None:
    """One slot, three queues: what the others have handed over is given back while the slot is taken."""
    first = await bench.worker(workercount=1, queues="a,b,c")
    await idle_in(bench, "a", "b", "c")
    gate = bench.gate()
    busy = await bench.submit("held", {"gate": gate}, queue="a")
    others = [await bench.submit("echo", queue=name) for name in ("b", "c")]
    second = await bench.worker(workercount=1, queues="b,c")
    ended = [await bench.ended(job_id) for job_id in others]
    assert [(job.state, job.attempts[-1].worker, len(job.attempts)) for job in ended] == [("succeeded", second.name, 1)] * 2
    assert (await bench.view(busy)).attempts[0].worker == first.name
    assert (await bench.view(busy)).state == "running"
    gate.open()


async def test_a_full_worker_is_idle_to_no_queue(bench: Bench) -> None:
    await bench.worker(workercount=1, queues="a,b")
    await idle_in(bench, "a", "b")
    running = await bench.submit("sleep", {"seconds": 30}, queue="a", timeout=60.0)
    await bench.is_in(running, "running")

    async def withdrawn() -> bool:
        return not await bench.queue.client.exists(keys.idle("a"), keys.idle("b"))

    await until("it is idle to no queue", withdrawn)
    waiting = await bench.submit("echo", queue="b")
    assert (await bench.view(waiting)).state == "queued"
    await bench.queue.cancel(running)
    assert (await bench.ended(waiting)).state == "succeeded"  # with a free slot it looks again


async def test_a_stopping_worker_runs_what_is_in_its_box(bench: Bench) -> None:
    """And leaves nothing behind: neither its name nor its box."""
    worker = await bench.worker(shutdownseconds=30.0)
    await idle_in(bench, "default")
    job_id = await bench.submit("sleep", {"seconds": 0.2})
    await bench.stop(worker)
    job = await bench.view(job_id)
    assert (job.state, len(job.attempts)) == ("succeeded", 1)
    assert not await bench.queue.client.exists(keys.idle("default"), keys.box("default", worker.name))


async def test_submitting_while_workers_stop_and_start_loses_nothing(bench: Bench) -> None:
    """Every job runs once, at its first attempt, whichever moment of a worker's life it was handed over in."""
    ids: list[str] = []
    workers: list[Worker] = [await bench.worker(workercount=2) for _ in range(2)]
    ends = time.monotonic() + 4
    while time.monotonic() < ends:
        ids += [await bench.submit("sleep", {"seconds": 0.02}) for _ in range(5)]
        await bench.stop(workers.pop(0))
        workers.append(await bench.worker(workercount=2))
    jobs = [await bench.ended(job_id) for job_id in ids]
    assert {(str(job.state), len(job.attempts)) for job in jobs} == {("succeeded", 1)}


async def test_new_queues_make_the_worker_listen_anew(bench: Bench) -> None:
    """Each makes the blocking read end early and start again; what it brings meanwhile is not lost."""
    await bench.worker(queues="*")
    for number in range(6):
        jobs = [bench.run("echo", queue=f"q{known}") for known in range(number + 1)]
        assert {str(job.state) for job in await asyncio.gather(*jobs)} == {"succeeded"}
        assert all([len((await bench.view(job.id)).attempts) == 1 for job in await asyncio.gather(*[bench.run("echo", queue="q0")])])


async def test_a_job_damaged_on_its_way_is_given_back(bench: Bench) -> None:
    worker = await bench.worker()
    await idle_in(bench, "default")
    await bench.queue.client.rpush(keys.box("default", worker.name), b"\xff not json")
    assert (await bench.run("echo")).state == "succeeded"


@pytest.mark.parametrize("what", ["wake", "box"])
async def test_a_list_that_somebody_wrote_over_holds_up_no_other_queue(bench: Bench, what: str) -> None:
    """The read of all lists breaks on it, and no job would be handed over any more."""
    worker = await bench.worker(queues="bad,default")
    await idle_in(bench, "bad", "default")
    await bench.queue.client.set(keys.wake("bad") if what == "wake" else keys.box("bad", worker.name), "oops")
    for _ in range(3):
        await idle_in(bench, "default")
        assert (await bench.run("echo")).state == "succeeded"
    assert (await bench.run("echo", queue="bad")).state == "succeeded"
