"""Says what a history breaks of the promises. Pure: the log, the rows and Redis' views in, violations and figures out.

The rules are in faultkit.rules, a function each with its source; faultkit.facts puts the history in order for them.
tests/unit/test_fault_checker.py plants a violation of each and sees it found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dtq.job import JobView
from faultkit.facts import Facts
from faultkit.figures import figures
from faultkit.history import Event
from faultkit.rules import RULES

__all__ = ["Verdict", "check"]


@dataclass
class Verdict:
    """What was found: broken promises, a line each ("RULE: JOB: what is wrong"), and figures to publish."""

    violations: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def check(
    history: Sequence[Event],
    rows: Sequence[Mapping[str, Any]],
    views: Mapping[str, JobView | None],
    *,
    maxretries: int = 5,
    skip: Collection[str] = (),
) -> Verdict:
    """Check a history that has come to rest.

    ``history`` is in the order of time (read_history); ``rows`` are all of dtq.jobs, as dicts of all columns; ``views`` is what
    Redis says of the jobs (Queue.get_many). ``maxretries`` is the workers' MAXRETRIES. ``skip`` names rules that cannot hold in
    a scenario, such as "times" where clocks disagree.
    """
    unknown = set(skip) - RULES.keys()
    if unknown:
        raise ValueError(f"no rule is called {sorted(unknown)}; there are {sorted(RULES)}")
    facts = Facts(history, rows, views, maxretries)
    found = [f"{name}: {violation}" for name, rule in RULES.items() if name not in skip for violation in rule(facts)]
    return Verdict(list(dict.fromkeys(found)), figures(facts))
