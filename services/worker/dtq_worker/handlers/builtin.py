"""The handlers of the built-in job types.

Pillow and DuckDB are loaded in the processes that run their jobs, and not in the worker itself: an idle one is a fifth
smaller without them.
"""

from __future__ import annotations

from dtq.jobs.data_processing import DATA_PROCESSING
from dtq.jobs.image_resize import IMAGE_RESIZE
from dtq.registry import handler_in
from dtq_worker.handlers.email import send_email

__all__ = ["process_data", "resize", "send_email"]

resize = handler_in(IMAGE_RESIZE, "dtq_worker.handlers.image_resize:resize")
process_data = handler_in(DATA_PROCESSING, "dtq_worker.handlers.data_processing:process_data")
