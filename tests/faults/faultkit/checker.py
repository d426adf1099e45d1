"""Says what a history breaks of the promises. Pure: the log, the rows and Redis' views in, violations and figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dtq.job import JobView
from faultkit.history import Event

__all__ = ["Verdict", "check"]


@dataclass
class Verdict:
    """What was found: broken promises, a line each, and figures to publish."""

    violations: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def check(history: Sequence[Event], rows: Sequence[Mapping[str, Any]], views: Mapping[str, JobView | None]) -> Verdict:
    """Check a history that has come to rest."""
    verdict = Verdict()
    present = {str(row["id"]) for row in rows}
    accepted = {event.job for event in history if event.kind == "accepted"}
    verdict.violations += [f"{job}: accepted, and has no row" for job in sorted(accepted - present)]
    verdict.figures["accepted"] = len(accepted)
    return verdict
