"""What kopf remembers about resources: nothing in them.

By default kopf copies the whole spec into an annotation, payload and all, to see later what has changed. Here it is the
generation that tells, which the API server counts up with every change of the spec, and it is kept in memory: after a
restart every resource is handled once more, which does nothing where nothing has changed. Handlers never fail for kopf
(``sync`` keeps account of what must be done again), so that its progress is not worth keeping either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import kopf

__all__ = ["GenerationStorage", "NoProgress"]


class GenerationStorage(kopf.DiffBaseStorage):
    """The last handled generation of each resource, by uid."""

    def __init__(self) -> None:
        super().__init__()
        self._handled: dict[str, int] = {}

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """What kopf compares."""
        return _essence(body["metadata"].get("generation", 1))

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """What was handled last."""
        generation = self._handled.get(body["metadata"]["uid"])
        return None if generation is None else _essence(generation)

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Note that it was handled."""
        self._handled[body["metadata"]["uid"]] = cast("Any", essence)["spec"]["generation"]

    def forget(self, uid: str) -> None:
        """The resource is gone."""
        self._handled.pop(uid, None)


def _essence(generation: int) -> kopf.BodyEssence:
    return cast("kopf.BodyEssence", {"spec": {"generation": generation}})


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        """Nothing is known."""

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Keep nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """There is nothing to forget."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Provoke no event."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """There is nothing of it in a resource."""
        return essence
