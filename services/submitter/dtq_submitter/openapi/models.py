"""What the schemas of all answers have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["CamelModel", "Count", "Instant", "JobId", "Model", "Name", "Seconds"]


def _plain(schema: dict[str, Any]) -> None:
    """Drop titles, which repeat the names, and defaults: in a model here they only say that the field may be missing."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
        field.pop("default", None)


class Model(BaseModel):
    """A schema of an answer. Nothing is validated with it: answers are built as plain data."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=_plain)


class CamelModel(Model):
    """One with the names of a Kubernetes resource."""

    model_config = ConfigDict(alias_generator=to_camel)


JobId = Annotated[str, Field(description="A job's id; opaque.", examples=["0193f0c2a1b00000n-default"])]
Name = Annotated[str, Field(examples=["default"])]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-03-01T09:00:00.000Z"])]
"""RFC 3339, in UTC."""
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
