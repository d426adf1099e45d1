"""The rules of the checker: each is a function of the facts that tells what breaks it, with the source of the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from faultkit.facts import Facts
from faultkit.rules import acceptance, answers, attempts, cancelling, fencing, outcome, ticks

__all__ = ["RULES"]

Rule = Callable[[Facts], Iterator[str]]

RULES: dict[str, Rule] = {
    "answers": answers.answers,
    "accepted": acceptance.accepted,
    "agreement": acceptance.agreement,
    "one job": acceptance.one_job,
    "refused": acceptance.refused,
    "content": acceptance.content,
    "started": acceptance.started,
    "outcome": outcome.outcome,
    "retries": outcome.retries,
    "attempts": attempts.attempts,
    "times": attempts.times,
    "delay": attempts.delay,
    "executions": attempts.executions,
    "stale": fencing.stale,
    "crashes": fencing.crashes,
    "exclusive": fencing.exclusive,
    "over": fencing.over,
    "cancelled": cancelling.cancelled,
    "known": cancelling.known,
    "seen": cancelling.seen,
    "ticks": ticks.ticks,
}
"""All that always hold, by the name that a violation begins with."""
