"""What a ScheduledJob resource says, as the API server gives it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

__all__ = ["GROUP", "KIND", "PLURAL", "VERSION", "Key", "Resource", "parse_resource"]

GROUP, VERSION, PLURAL, KIND = "dtq.dev", "v1", "scheduledjobs", "ScheduledJob"

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource at one moment. ``created`` is in ms; ``deleting``: it only waits for somebody's finalizer."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: int
    deleting: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """Where it is."""
        return self.namespace, self.name

    @property
    def entry(self) -> str:
        """Name of its schedule in Redis. A namespace has no dots, so that no two resources share one."""
        return f"{self.namespace}.{self.name}"

    @property
    def last(self) -> int | None:
        """The last start (ms) in its status: a schedule written anew, since Redis lost it, goes on from there."""
        text = self.status.get("lastScheduleTime")
        return _ms(text) if isinstance(text, str) else None

    def without_spec(self) -> Resource:
        """The same, without what may be large."""
        return replace(self, spec={})


def parse_resource(body: Mapping[str, Any]) -> Resource:
    """The resource in an object of the API server."""
    meta = body["metadata"]
    return Resource(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 1),
        created=_ms(meta["creationTimestamp"]) or 0,
        deleting=bool(meta.get("deletionTimestamp")),
        spec=body.get("spec") or {},
        status=body.get("status") or {},
    )


def _ms(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None
