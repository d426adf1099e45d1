"""The OpenAPI document: what FastAPI knows of the routes, and here what it cannot see, as the answers are built without it.

Each module describes one group of endpoints: the schemas of its answers, each with an example. A test drives every
endpoint and holds what it answers against the document.
"""

from __future__ import annotations

from dtq_submitter.openapi.document import openapi_builder

__all__ = ["openapi_builder"]
