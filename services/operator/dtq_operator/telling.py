"""Which events of a schedule become Kubernetes events, and their form. Pure.

An event is told once, though nothing is kept about it: its object's name follows from what it says, so that the API
server refuses it the second time. It forgets events after an hour; older ones are therefore not told any more.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable
from typing import Any

from dtq.schedule.entry import Event, rfc3339
from dtq_operator.resource import GROUP, KIND, VERSION, Resource

__all__ = ["OLDEST_MS", "event_object", "to_tell"]

OLDEST_MS = 50 * 60 * 1000
"""Events this old are not told: less than the hour for which an API server keeps them."""

COMPONENT = "dtq-operator"
HOST = socket.gethostname()[:128]
"""Name of the pod."""


def to_tell(events: Iterable[Event], after: int, now: int) -> list[Event]:
    """Those later than ``after`` (ms) and not too old, the oldest first."""
    return sorted((event for event in events if event.time > max(after, now - OLDEST_MS)), key=lambda event: event.time)


def event_object(resource: Resource, event: Event, once: str | None = None) -> dict[str, Any]:
    """The core/v1 Event. It is told once for each ``once``, by default each time and message."""
    what = f"{resource.uid}/{event.reason}/{once or f'{event.time}/{event.message}'}"
    digest = hashlib.blake2b(what.encode(), digest_size=10).hexdigest()
    time = rfc3339(event.time)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{resource.name[:200].rstrip('-.')}.{digest}", "namespace": resource.namespace},
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "namespace": resource.namespace,
            "name": resource.name,
            "uid": resource.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:1024],
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": HOST,
    }
