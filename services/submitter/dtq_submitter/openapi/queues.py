"""Answers under /queues."""

from __future__ import annotations

from typing import Any

from dtq_submitter.openapi.answers import json_answer
from dtq_submitter.openapi.models import Count, Model, Name, Seconds

__all__ = ["QUEUE", "QUEUES", "Queue", "QueueList"]


class Queue(Model):
    """A queue's numbers; zeros for one never used."""

    name: Name
    ready: Count
    """Jobs that could start now."""
    delayed: Count
    """Jobs that wait for their time, or for their next attempt."""
    running: Count
    dead: Count
    """Jobs that failed within DEADTTL."""
    demand: Count
    """ready + running: slots that could be used. Autoscaling reads it."""
    oldest_age_seconds: Seconds
    """How long the first ready job has waited."""
    paused: bool
    """No job of it is handed out."""
    workers: Count
    """Worker processes with a lease on it."""


class QueueList(Model):
    """All queues."""

    queues: list[Queue]


_EXAMPLE: dict[str, Any] = {
    "name": "default",
    "ready": 3,
    "delayed": 1,
    "running": 4,
    "dead": 0,
    "demand": 7,
    "oldest_age_seconds": 0.25,
    "paused": False,
    "workers": 2,
}
QUEUE = json_answer("The queue's numbers.", Queue, _EXAMPLE)
QUEUES = json_answer("Every queue ever submitted to.", QueueList, {"queues": [_EXAMPLE]})
