"""Submitting jobs and asking after them from Python.

Over HTTP, wherever the submitter's API is reachable::

    with Client("http://127.0.0.1:8080", api_key="...") as dtq:
        job = dtq.submit(Job("email", {"to": "user@example.com", "subject": "Hello", "body": "..."}))
        print(dtq.wait(job.id, 30).state)

Straight on Redis, for programs next to it that submit in bulk::

    with QueueClient("redis://127.0.0.1:6379") as dtq:
        ids = dtq.submit_many(Job("noop", {"n": n}) for n in range(100_000)).ids

``AsyncClient`` and ``AsyncQueueClient`` are the same with coroutines. Every error is one of :mod:`dtq.errors`.
"""

from dtq.client.calls import JobInfo, QueueInfo, Receipt
from dtq.client.direct import AsyncQueueClient, QueueClient, Receipts
from dtq.client.http import AsyncClient, Client
from dtq.client.spec import Job

__all__ = ["AsyncClient", "AsyncQueueClient", "Client", "Job", "JobInfo", "QueueClient", "QueueInfo", "Receipt", "Receipts"]
