"""A task for handler processes. A module of its own: they import it by name, and tests have no names they could import."""

from __future__ import annotations

from typing import Any

from dtq.config import Settings
from dtq.testing import FakeContext


def run(settings: Settings, kind: str, payload: str) -> dict[str, Any]:
    """What a handler process does with a task."""
    from dtq_worker.handlers.data_processing import process_data
    from dtq_worker.handlers.image_resize import resize

    handler = {"data": process_data, "image": resize}[kind]
    result: dict[str, Any] = handler.func(handler.job_type.payload.model_validate_json(payload), FakeContext(settings))
    return result
