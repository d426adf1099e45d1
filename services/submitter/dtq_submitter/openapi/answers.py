"""Builds the answers of an endpoint, as ``responses`` of its route takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from dtq_submitter.openapi.errors import problem_answer

__all__ = ["LOCATION", "NO_KEY", "REF", "Answer", "answers", "json_answer", "open_answers"]

Answer = dict[str, Any]
"""An OpenAPI Response Object."""

REF = "#/components/schemas/{model}"
NO_KEY: dict[str, Any] = {"security": []}
"""In an operation: nobody needs an API key."""
ANY = (400, 403, 405, 408, 414, 431, 500, 503)
"""What any request may be answered: some of it before its path is known."""
LOCATION: dict[str, Any] = {"Location": {"description": "Path of the job.", "schema": {"type": "string"}}}


def json_answer(description: str, model: type[BaseModel], example: object, headers: Mapping[str, Any] | None = None) -> Answer:
    """An answer whose body is JSON of the schema ``model``."""
    content = {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}, "example": example}}
    return {"description": description, **({"headers": dict(headers)} if headers else {}), "content": content}


def answers(good: Mapping[int, Answer], *errors: int) -> dict[int | str, Answer]:
    """All answers of an endpoint that needs an API key; ``errors`` are those that not every such endpoint has."""
    return open_answers(good, 401, *errors)


def open_answers(good: Mapping[int, Answer], *errors: int) -> dict[int | str, Answer]:
    """All answers of an endpoint that needs none."""
    found: dict[int | str, Answer] = dict(good.items())
    for status in sorted({*ANY, *errors}):
        problem = problem_answer(status)
        found[status] = {**good[status], "content": good[status]["content"] | problem["content"]} if status in good else problem
    return found
