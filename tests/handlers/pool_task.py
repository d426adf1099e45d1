"""A task for handler processes. A module of its own: they import it by name, and tests have no names they could import."""

from __future__ import annotations

from typing import Any

from dtq.config import Settings
from dtq.jobs import DataProcessing, ImageResize
from dtq.testing import FakeContext


def run(settings: Settings, kind: str, payload: str) -> dict[str, Any]:
    """What a handler process does with a task."""
    from dtq_worker.handlers.data_processing import process_data
    from dtq_worker.handlers.image_resize import resize

    if kind == "data":
        return process_data(DataProcessing.model_validate_json(payload), FakeContext(settings))
    return resize(ImageResize.model_validate_json(payload), FakeContext(settings))
