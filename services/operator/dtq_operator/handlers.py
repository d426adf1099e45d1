"""kopf's side: it watches resources and calls the syncer.

It is given their metadata only. What is in a resource is read one by one, so that none can keep kopf from the others: a
payload nested deeper than Python's parsers go would otherwise end kopf, and end it again after each restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kopf
import structlog

from dtq_operator.kube import kopf_session
from dtq_operator.metrics import Metrics
from dtq_operator.resource import GROUP, PLURAL, VERSION
from dtq_operator.storage import GenerationStorage, NoProgress
from dtq_operator.sync import Syncer

__all__ = ["kopf_settings", "make_registry"]

WHAT = (GROUP, VERSION, PLURAL)

HANDLER_SECONDS = 120.0
"""Time for one resource: Redis and the API server answer within seconds, or are away."""

log = structlog.get_logger("dtq.operator")


class Backoffs:
    """Seconds between kopf's attempts on an API server that is away: growing to ten, and never given up."""

    def __iter__(self) -> Iterator[float]:
        """They start anew for every request."""
        yield from (0.5, 1, 2, 3, 5)
        while True:
            yield 10


def kopf_settings(storage: GenerationStorage) -> kopf.OperatorSettings:
    """How kopf is to work."""
    settings = kopf.OperatorSettings()
    # Definitions and namespaces are not watched: that would need rights on the whole cluster.
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = storage
    settings.persistence.progress_storage = NoProgress()
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 240
    # A connection that broke silently is noticed by the missing bookmarks, at the latest by this.
    settings.watching.client_timeout = 270
    settings.watching.chunk_size = 200
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = Backoffs()
    # Each resource has a worker of its own, which ends soon after: how much is done at once is the syncer's to limit.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 5.0
    settings.process.ultimate_exiting_timeout = None
    return settings


def make_registry(syncer: Syncer, storage: GenerationStorage, metrics: Metrics) -> kopf.OperatorRegistry:
    """The handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, backoff=2)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return kopf_session()

    @kopf.on.event(*WHAT, registry=registry)
    async def notice_deletion(type: str | None, meta: kopf.Meta, **_: Any) -> None:
        if type == "DELETED":
            storage.forget(meta["uid"])
        elif not meta.get("deletionTimestamp"):
            return
        await syncer.remove(meta["namespace"], meta["name"], meta["uid"])

    options: dict[str, Any] = {"registry": registry, "id": "sync", "retries": 3, "timeout": HANDLER_SECONDS, "backoff": 5}

    @kopf.on.create(*WHAT, **options)
    @kopf.on.resume(*WHAT, **options)
    @kopf.on.update(*WHAT, field="spec", **options)
    async def sync(meta: kopf.Meta, **_: Any) -> None:
        namespace, name = meta["namespace"], meta["name"]
        try:
            await syncer.sync_named(namespace, name, meta["uid"], meta.get("generation", 1))
        except Exception:  # a fault of ours: the next resync tries again
            metrics.reconciled("failed")
            log.exception("sync_failed", namespace=namespace, name=name)

    return registry
