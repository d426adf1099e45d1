"""What a service may answer while servers are away (docs/guarantees.md: 503, and nothing else that is a fault of its own)."""

from __future__ import annotations

from collections.abc import Iterator

from faultkit.facts import Facts

__all__ = ["answers"]


def answers(facts: Facts) -> Iterator[str]:
    """No request was answered with 5xx but for 503, which says that a server behind the service does not serve."""
    for event in facts.history:
        if event.kind == "faulty":
            yield f"{event.who} was answered {event.status}: {event.text}"
