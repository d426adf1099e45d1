"""Which finished jobs a list shows, as SQL conditions."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from dtq.job import TERMINAL, State
from dtq.storage.times import instant

__all__ = ["JobFilter", "conditions"]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list is restricted to; None restricts nothing.

    ``since_ms <= submitted < until_ms``, in ms since the epoch. Of ``states`` only terminal ones can match.
    """

    states: Set[State] | None = None
    type: str | None = None
    queue: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


def conditions(wanted: JobFilter, after: tuple[int, str] | None) -> tuple[str, dict[str, object]] | None:
    """The WHERE clause and its parameters; None when nothing can match.

    ``after`` is ``(submitted_ms, id)`` of the last row of the page before.
    """
    clauses: list[str] = ["true"]
    params: dict[str, object] = {}
    if wanted.states is not None:
        states = sorted(TERMINAL.intersection(wanted.states))
        if not states:
            return None
        # As literals: only then can the planner prove that the partial index of unsuccessful jobs serves.
        literals = ", ".join(f"'{state}'" for state in states)
        clauses.append(f"state IN ({literals})" if len(states) < len(TERMINAL) else "true")
    for clause, name, value in (
        ("type = %(type)s", "type", wanted.type),
        ("queue = %(queue)s", "queue", wanted.queue),
        ("submitted_at >= %(since)s", "since", None if wanted.since_ms is None else instant(wanted.since_ms)),
        ("submitted_at < %(until)s", "until", None if wanted.until_ms is None else instant(wanted.until_ms)),
    ):
        if value is not None:
            clauses.append(clause)
            params[name] = value
    if after is not None:
        clauses.append("(submitted_at, id) < (%(after_time)s, %(after_id)s)")
        params |= {"after_time": instant(after[0]), "after_id": after[1]}
    return " AND ".join(clauses), params
