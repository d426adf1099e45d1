"""The schemas of the document: those of all answers, and those of the request bodies."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from dtq.config import QUEUE_NAME
from dtq.requests import Requests
from dtq.schedule.spec import ScheduleSpec
from dtq_submitter.openapi.answers import REF
from dtq_submitter.openapi.jobs import Cancelled, Cancelling, JobPage, Retried
from dtq_submitter.openapi.problem import Problem
from dtq_submitter.openapi.queues import QueueList
from dtq_submitter.openapi.schedules import Schedule, SchedulePage, Ticks, Triggered
from dtq_submitter.openapi.submissions import SubmittedBatch
from dtq_submitter.openapi.system import Liveness, Readiness, TypeList

__all__ = ["schemas"]

_MODELS: tuple[type[BaseModel], ...] = (
    *(Cancelled, Cancelling, JobPage, Liveness, Problem, QueueList, Readiness, Retried),
    *(Schedule, SchedulePage, ScheduleSpec, SubmittedBatch, Ticks, Triggered, TypeList),
)
"""Those that the others are parts of."""


def schemas(requests: Requests) -> dict[str, Any]:
    """All schemas by name."""
    _, found = models_json_schema([(model, "validation") for model in _MODELS], ref_template=REF)
    ours: dict[str, Any] = found["$defs"]
    theirs: dict[str, Any] = {}
    for name, adapter in (("SubmitRequest", requests.one), ("BatchRequest", requests.batch)):
        if adapter is not None:
            theirs |= _spread(name, adapter.json_schema(ref_template=REF), ours.keys())
    ours["JobTemplate"]["properties"]["queue"]["pattern"] = f"^{QUEUE_NAME.pattern}$"
    for name in ("ScheduleSpec", "JobTemplate"):
        _allow_null(ours[name])
    return ours | theirs


def _allow_null(schema: dict[str, Any]) -> None:
    """As in Kubernetes, a field that may be left out may be null, too."""
    for name, field in schema["properties"].items():
        if name not in schema["required"] and {"type": "null"} not in field.get("anyOf", []):
            said = {key: field.pop(key) for key in ("default", "title", "description") if key in field}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **said}


def _spread(name: str, schema: dict[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """A schema and what it brings, by name. Handlers name their models as they like, ``Job`` too: such a one is renamed."""
    brought = schema.pop("$defs", {})
    names = {other: f"Payload{other}" if other in taken else other for other in brought}
    text = json.dumps({**{names[other]: one for other, one in brought.items()}, name: schema})
    for old, new in names.items():
        text = text.replace(f'"{REF.format(model=old)}"', f'"{REF.format(model=new)}"')
    spread: dict[str, Any] = json.loads(text)
    return spread
