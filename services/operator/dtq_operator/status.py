"""What the status of a resource says, and the patch that makes it so. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtq.schedule.entry import Entry
from dtq_operator.accept import Verdict
from dtq_operator.conditions import Unwritten, conditions, merge
from dtq_operator.resource import Resource

__all__ = ["difference", "of_runs", "of_spec"]

_EMPTY: tuple[object, ...] = (None, [], {}, 0)


def of_runs(entry: Entry) -> dict[str, Any]:
    """The part that tells of ticks and runs."""
    return {**entry.status(), "activeCount": len(entry.runs)}


def of_spec(resource: Resource, verdict: Verdict, written: Entry | Unwritten | None, now: str) -> dict[str, Any]:
    """The whole status after a spec was judged and, if it could be, written. ``now`` is RFC 3339."""
    wanted = conditions(verdict, written, resource.generation)
    status: dict[str, Any] = {
        "observedGeneration": resource.generation,
        "conditions": merge(resource.status.get("conditions") or [], wanted, now),
    }
    return {**of_runs(written), **status} if isinstance(written, Entry) else status


def difference(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch from ``current`` to ``wanted``, empty when they agree; None in it removes a field."""
    return {
        field: value
        for field, value in wanted.items()
        if current.get(field) != value and not (value in _EMPTY and current.get(field) in _EMPTY)
    }
