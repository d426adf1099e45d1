"""What the status of a resource says, and the patch that makes it so. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtq.schedule.entry import Entry
from dtq_operator.accept import Verdict
from dtq_operator.conditions import Unwritten, conditions, merge
from dtq_operator.resource import Resource

__all__ = ["difference", "of_runs", "of_spec", "operations"]

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
    """The fields in which ``current`` is not as ``wanted``, and how they should be; None for one that is to go."""
    return {
        field: value
        for field, value in wanted.items()
        if current.get(field) != value and not (value in _EMPTY and current.get(field) in _EMPTY)
    }


def operations(resource: Resource, difference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A JSON patch (RFC 6902) that applies only to the resource it was made for, not to another one that has its name by then.

    A uid in a merge patch would not do: of metadata, a write to the status takes nothing, and checks nothing but the version.
    """
    same = {"op": "test", "path": "/metadata/uid", "value": resource.uid}
    if not resource.status:
        return [same, {"op": "add", "path": "/status", "value": {key: value for key, value in difference.items() if value is not None}}]
    return [same, *(_operation(field, value) for field, value in difference.items())]


def _operation(field: str, value: object) -> dict[str, Any]:
    path = f"/status/{field}"
    return {"op": "remove", "path": path} if value is None else {"op": "add", "path": path, "value": value}
