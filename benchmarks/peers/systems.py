"""The systems that are compared. To add one: an adapter (see README.md), a line here, a line in setup.sh."""

from __future__ import annotations

from typing import NamedTuple


class System(NamedTuple):
    """One line of the table: an adapter, in one of its variants, in the environment that setup.sh makes."""

    adapter: str
    """A file of adapters/: Python (no suffix), .js, or .go for a program that setup.sh has built."""
    environment: str
    """A folder below PEERS_DIR; "" is this very environment."""
    variant: str = ""
    broker: str = "redis"
    """Servers it runs on: redis, postgres, redis+postgres."""


SYSTEMS = {
    "dtq": System("peer_dtq", "", broker="redis+postgres"),
    "saq": System("peer_saq", "saq"),
    "arq": System("peer_arq", "arq"),
    "streaq": System("peer_streaq", "streaq"),
    "taskiq-stream": System("peer_taskiq", "taskiq"),
    "taskiq-list": System("peer_taskiq", "taskiq", "list"),
    "celery": System("peer_celery", "celery"),
    "celery-late": System("peer_celery", "celery", "late"),
    "dramatiq": System("peer_dramatiq", "dramatiq"),
    "huey": System("peer_huey", "huey"),
    "rq": System("peer_rq", "rq"),
    "rq-fork": System("peer_rq", "rq", "fork"),
    "ardiq": System("peer_ardiq", "ardiq"),
    "bullmq": System("peer_bullmq.js", "bullmq"),
    "asynq": System("asynq.go", "go"),
    "asynq-result": System("asynq.go", "go", "result"),
    "river": System("river.go", "go", broker="postgres"),
    "river-default": System("river.go", "go", "default", broker="postgres"),
    "pgqueuer": System("peer_pgqueuer", "pgqueuer", broker="postgres"),
    "procrastinate": System("peer_procrastinate", "procrastinate", broker="postgres"),
}
