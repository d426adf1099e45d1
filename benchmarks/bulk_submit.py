"""Bulk submission: QueueClient.submit_many from one process, against a raw pipelined XADD loop on the same server.

    python benchmarks/bulk_submit.py [--jobs 200000] [--rounds 3] [--fsync always]

Jobs are of one type with a payload of 100 bytes. Both sides write to a server of their own that syncs its append-only
file at every write; the raw loop sends the same entries, 500 a pipeline. Rounds alternate; the median of each counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import redis
from program import launch, positive

from dtq.client import Job, QueueClient
from dtq.embedded import ValkeyServer

PAYLOAD = {"x": "a" * 92}
TEXT = b'{"x":"' + b"a" * 92 + b'"}'


def raw(client: redis.Redis, jobs: int) -> float:
    began = time.perf_counter()
    for start in range(0, jobs, 500):
        pipe = client.pipeline(transaction=False)
        for _ in range(min(500, jobs - start)):
            pipe.xadd("raw", {"t": "noop", "p": TEXT})
        pipe.execute()
    return jobs / (time.perf_counter() - began)


def submitted(url: str, jobs: int) -> tuple[float, float]:
    """Jobs a second, and microseconds of this process's CPU time a job."""
    with QueueClient(url) as client:
        client.submit(Job("noop", PAYLOAD))
        began, cpu = time.perf_counter(), time.process_time()
        receipts = client.submit_many(Job("noop", PAYLOAD) for _ in range(jobs))
        rate, spent = jobs / (time.perf_counter() - began), (time.process_time() - cpu) / jobs * 1e6
        assert len(set(receipts.ids)) == jobs
        assert client.queue().ready == jobs + 1
    return rate, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=positive, default=200_000)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--fsync", default="always", choices=["always", "everysec", "no"])
    options = parser.parse_args()
    ours, theirs, spent = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(folder, extra_args=["--appendfsync", options.fsync])
        server.start()
        try:
            with redis.Redis.from_url(server.url) as client:
                for _ in range(options.rounds):
                    client.flushall()
                    theirs.append(raw(client, options.jobs))
                    client.flushall()
                    rate, cpu = submitted(server.url, options.jobs)
                    ours.append(rate)
                    spent.append(cpu)
        finally:
            server.stop()
    mine, bare = statistics.median(ours), statistics.median(theirs)
    print(
        f"submit_many {mine:,.0f} jobs/s ({statistics.median(spent):.1f} us of client CPU a job), "
        f"raw XADD pipeline {bare:,.0f}/s: {mine / bare:.2f} times"
    )


if __name__ == "__main__":
    launch(main)
