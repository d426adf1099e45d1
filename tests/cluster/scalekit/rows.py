"""The table of results, as psql in PostgreSQL's pod shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clusterkit import Kubectl

__all__ = ["Row", "read_rows"]

COLUMNS = "id, state, replays, attempts, extract(epoch FROM started_at) AS started, extract(epoch FROM finished_at) AS finished"


@dataclass(frozen=True)
class Row:
    """A row of dtq.jobs; times in seconds since 1970."""

    id: str
    state: str
    replays: int
    attempts: list[dict[str, Any]]
    started: float | None
    finished: float

    def outcomes(self) -> list[str]:
        """Those of its attempts."""
        return [str(attempt["outcome"]) for attempt in self.attempts]


def read_rows(kubectl: Kubectl, pod: str, queues: Iterable[str]) -> list[Row] | None:
    """All rows of these queues; None while PostgreSQL does not answer."""
    names = ", ".join(f"'{queue}'" for queue in queues)
    query = f"SELECT row_to_json(r) FROM (SELECT {COLUMNS} FROM dtq.jobs WHERE queue IN ({names})) r"
    command = ("psql", "-h", "/tmp", "-U", "postgres", "-d", "dtq", "-tA", "-c", query)
    done = kubectl("exec", pod, "-c", "postgresql", "--", *command, check=False)
    return [Row(**json.loads(line)) for line in done.out.splitlines() if line] if done.code == 0 else None
