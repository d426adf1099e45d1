"""Watches over the definition of ScheduledJob in the cluster: whether it is there, and new enough."""

from __future__ import annotations

import asyncio

import structlog

from dtq_operator.crd import problem
from dtq_operator.kube import Api

__all__ = ["Definition"]

log = structlog.get_logger("dtq.operator")


class Definition:
    """``there`` is set while the cluster serves ScheduledJobs."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._problem: str | None = "the definition of ScheduledJob has not been looked at yet"
        self.there = asyncio.Event()

    async def step(self) -> float:
        """Look."""
        document = await self._api.openapi()
        found = problem(document)
        if found is not None and found != self._problem:
            log.error("definition_unfit", problem=found)
        elif found is None and self._problem is not None:
            log.info("definition_found")
        self._problem = found
        if document is None:
            self.there.clear()
        else:
            self.there.set()
        return 15.0 if found is None else 2.0

    async def check(self) -> None:
        """Return when it is there and new enough.

        Raises:
            RuntimeError: it is not; the message says what to do.
        """
        if self._problem is not None:
            raise RuntimeError(self._problem)
