"""The built-in job types: what they are called and what their payloads look like.

The submitter checks payloads against these models, so nothing here imports what only a handler needs. The handlers are
in the worker, one module a type.
"""

from dtq.jobs.data_processing import DATA_PROCESSING, DataProcessing
from dtq.jobs.email import EMAIL, Email
from dtq.jobs.image_resize import IMAGE_RESIZE, ImageResize
from dtq.registry import JobType

__all__ = ["BUILTIN", "DATA_PROCESSING", "EMAIL", "IMAGE_RESIZE", "DataProcessing", "Email", "ImageResize"]

BUILTIN: tuple[JobType, ...] = (EMAIL, IMAGE_RESIZE, DATA_PROCESSING)
"""Every built-in job type."""
