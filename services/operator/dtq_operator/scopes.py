"""The namespaces to serve, and which of them the API server lets us list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from dtq_operator.kube import Api, Refusal

__all__ = ["Scope", "Scopes"]

Scope = str | None
"""A namespace; None is all of the cluster."""

FORBIDDEN = 403

log = structlog.get_logger("dtq.operator")


class Scopes:
    """``all`` of them, and those that are ``refused``: deleted with our rights in it, say, or never granted.

    ``changed`` is set when others are refused than before; whoever waits for it clears it.
    """

    def __init__(self, api: Api, scopes: Iterable[Scope]) -> None:
        self._api = api
        self.all: tuple[Scope, ...] = tuple(scopes)
        self.refused: frozenset[Scope] = frozenset()
        self.changed = asyncio.Event()

    @property
    def open(self) -> list[Scope]:
        """Those that can be listed, as far as is known."""
        return [scope for scope in self.all if scope not in self.refused]

    def listed(self, scope: Scope) -> None:
        """Note that it could be listed."""
        if scope in self.refused:
            log.info("namespace_granted", namespace=scope or "*")
            self._become(self.refused - {scope})

    def not_listed(self, scope: Scope, error: Refusal) -> None:
        """Note that it could not. That the definition is not there is no matter of rights."""
        if error.status == FORBIDDEN and scope not in self.refused:
            log.error("namespace_refused", namespace=scope or "*", error=str(error))
            self._become(self.refused | {scope})

    def _become(self, refused: frozenset[Scope]) -> None:
        self.refused = refused
        self.changed.set()

    async def look(self) -> None:
        """Find out anew.

        Raises:
            Unavailable: the API server is away.
        """
        for scope in self.all:
            try:
                await self._api.ping(scope)
            except Refusal as error:
                self.not_listed(scope, error)
            else:
                self.listed(scope)

    async def check(self) -> None:
        """Return when any of them can be listed.

        Raises:
            Unavailable: the API server is away.
            Refusal: it refuses them all.
        """
        refusal: Refusal | None = None
        for scope in sorted(self.all, key=lambda scope: scope in self.refused):
            try:
                await self._api.ping(scope)
            except Refusal as error:
                refusal = refusal or error
            else:
                return
        if refusal is not None:
            raise refusal
