"""What a complete look at resources and entries calls for. Pure.

Entries are read before resources are listed: an entry without a resource then had none at the time of the list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from dtq.schedule.entry import Entry
from dtq_operator.accept import Accepted, Verdict
from dtq_operator.resource import Resource

__all__ = ["Odd", "Removal", "is_ahead", "is_current", "removals"]

Odd = frozenset[tuple[str, str]]
"""Names and uids of entries that did not fit a complete list."""


@dataclass(frozen=True, slots=True)
class Removal:
    """``remove``: entries without a resource in two complete lists in a row. ``missing``: those without one in this list."""

    remove: list[Entry] = field(default_factory=list)
    missing: Odd = frozenset()


def removals(entries: Iterable[Entry], present: Collection[str], missing_before: Odd) -> Removal:
    """Which entries go. ``entries`` are those of one owner or more, ``present`` the entry names of all their resources."""
    found = [entry for entry in entries if entry.name not in present]
    again = [entry for entry in found if (entry.name, entry.uid) in missing_before]
    return Removal(again, frozenset((entry.name, entry.uid) for entry in found))


def is_current(resource: Resource, verdict: Verdict, entry: Entry | None) -> bool:
    """Whether nothing need be done: Redis and the status have the spec as it is."""
    if resource.status.get("observedGeneration") != resource.generation:
        return False
    judged = _conditions(resource.status)
    accepted = judged.get("Accepted", {})
    if isinstance(verdict, Accepted):
        written = entry is not None and (entry.uid, entry.generation, entry.spec) == (resource.uid, resource.generation, verdict.spec)
        return written and accepted.get("status") == "True" and judged.get("Synced", {}).get("status") == "True"
    # What it says may be out of date: it names the job types that there are, say.
    said = (accepted.get("status"), accepted.get("reason"), accepted.get("message"))
    return said == ("False", verdict.reason, verdict.message)


def is_ahead(resource: Resource, entry: Entry | None) -> bool:
    """Whether Redis has a later generation than the API server: that was set back to an older copy."""
    return entry is not None and entry.uid == resource.uid and entry.generation > resource.generation


def _conditions(status: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    found = status.get("conditions")
    return {str(item.get("type")): item for item in found} if isinstance(found, list) else {}
