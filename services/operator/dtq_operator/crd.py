"""Whether the definition of ScheduledJob that the cluster serves has all that this operator needs. Pure.

Helm does not upgrade definitions: an older one may be left, and would silently drop the fields it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtq_operator.resource import GROUP, KIND, PLURAL, VERSION

__all__ = ["OPENAPI", "missing_fields", "problem"]

OPENAPI = f"/openapi/v3/apis/{GROUP}/{VERSION}"
"""Where an API server tells the schema; every service account may read it."""

FIELDS = (
    "spec.schedule",
    "spec.timeZone",
    "spec.suspend",
    "spec.concurrencyPolicy",
    "spec.startingDeadlineSeconds",
    "spec.successfulJobsHistoryLimit",
    "spec.failedJobsHistoryLimit",
    "spec.jobTemplate.type",
    "spec.jobTemplate.payload",
    "spec.jobTemplate.queue",
    "spec.jobTemplate.priority",
    "spec.jobTemplate.timeoutSeconds",
    "spec.jobTemplate.maxRetries",
    "status.observedGeneration",
    "status.lastScheduleTime",
    "status.lastSuccessfulTime",
    "status.nextScheduleTime",
    "status.activeCount",
    "status.active",
    "status.conditions",
)

APPLY = "helm show crds CHART | kubectl apply --server-side --force-conflicts -f -"


def problem(document: Mapping[str, Any] | None) -> str | None:
    """What is wrong with the served definition and what to do, None if nothing is. ``document``: OPENAPI's answer, None for 404."""
    if document is None:
        return f"the cluster has no {PLURAL}.{GROUP}; apply the chart's definition: {APPLY}"
    missing = missing_fields(document)
    if not missing:
        return None
    return f"the cluster's {PLURAL}.{GROUP} is older than this operator, it lacks {', '.join(missing)}; apply the chart's: {APPLY}"


def missing_fields(document: Mapping[str, Any]) -> list[str]:
    """Paths of fields that the schema lacks."""
    schemas = document.get("components", {}).get("schemas", {})
    schema: Mapping[str, Any] = next((schema for schema in schemas.values() if _is_ours(schema)), {})
    return [path for path in FIELDS if not _has(schema, path.split("."))]


def _is_ours(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("x-kubernetes-group-version-kind", [])
    return any((kind.get("group"), kind.get("version"), kind.get("kind")) == (GROUP, VERSION, KIND) for kind in kinds)


def _has(schema: Mapping[str, Any], path: list[str]) -> bool:
    if not path:
        return True
    inner = schema.get("properties", {}).get(path[0])
    return inner is not None and _has(inner, path[1:])
