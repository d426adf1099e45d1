"""A Redis that was set back (its last second lost, or a replica that had not seen it promoted) leaves no job claimed for nobody."""

from __future__ import annotations

import pytest
from worker_bench import Bench, until

from dtq.job import TERMINAL
from dtq.queue import keys


async def _end_is_lost(bench: Bench) -> str:
    """The id of a job whose worker has ended it, in a Redis that has forgotten so: it is claimed, and nobody runs it."""
    mark, gate = bench.mark(), bench.gate()
    job_id = await bench.submit("held", {"gate": gate, "mark": mark})
    await until("it runs", lambda: mark.lines)
    stream = keys.lane("default", "n")
    earlier = await bench.queue.client.dump(stream)
    gate.open()
    await bench.ended(job_id)
    await bench.row(job_id)
    async with bench.queue.client.pipeline(transaction=True) as pipe:  # at once: the worker may look for such at any moment
        pipe.restore(stream, 0, earlier, replace=True).delete(keys.done("default", job_id)).xpending(stream, keys.GROUP)
        *_, pending = await pipe.execute()
    assert pending["pending"] == 1, "it is claimed"
    return job_id


async def test_a_claim_whose_end_was_lost_is_found_and_run_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtq_worker.recovery.ROUTINE", 0.5)
    await bench.worker()
    job_id = await _end_is_lost(bench)
    job = await bench.ended(job_id, 20)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("succeeded", ["succeeded"])
    [stats] = await bench.queue.stats(["default"])
    assert (stats.running, stats.ready) == (0, 0)


async def test_jobs_that_run_are_left_alone_by_the_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtq_worker.recovery.ROUTINE", 0.05)
    mark = bench.mark()
    await bench.worker()
    ids = [await bench.submit("sleep", {"seconds": 0.05, "mark": mark}) for _ in range(100)]
    for job_id in ids:
        job = await bench.ended(job_id, 30)
        assert job.state in TERMINAL
        assert [attempt.outcome for attempt in job.attempts] == ["succeeded"]
    assert len(mark.lines) == len(ids)
