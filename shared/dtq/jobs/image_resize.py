"""The job type ``image_resize``: make an image smaller (or larger) and store it as a blob."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from dtq.blobkey import BlobKey
from dtq.jobs.fields import Payload, Source
from dtq.registry import JobType

__all__ = ["IMAGE_RESIZE", "Format", "ImageResize"]

MAX_SIDE = 16_384
"""Pixels of an output's longer side; WebP and AVIF have limits near it."""


def _any_case(value: Any) -> Any:
    return {"JPG": "JPEG"}.get(value.upper(), value.upper()) if isinstance(value, str) else value


Format = Annotated[Literal["JPEG", "PNG", "WEBP", "AVIF"], BeforeValidator(_any_case)]
Side = Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]


class ImageResize(Payload):
    """What to resize, and to what. One side alone keeps the proportions. Of an animation the first frame is taken."""

    source: Source
    height: Side | None = Field(None, description="Pixels.")
    width: Side | None = Field(None, validate_default=True, description="Pixels.")
    fit: Literal["contain", "cover", "fill"] = Field(
        "contain", description="With both sides given: contain fits inside them, cover fills them and cuts off what is over, fill distorts."
    )
    format: Format | None = Field(None, description="The source's own when left out, PNG if that cannot be written.")
    quality: Annotated[int, Field(strict=True, ge=1, le=100)] | None = Field(
        None, description="Of JPEG, WebP and AVIF; their usual one when left out. PNG is lossless."
    )
    output: BlobKey | None = Field(None, description="Blob key of the result; jobs/ID.EXTENSION when left out.")

    @field_validator("width")
    @classmethod
    def _has_size(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None and info.data.get("height", 0) is None:
            raise ValueError("give width, height or both")
        return value


IMAGE_RESIZE = JobType(
    name="image_resize",
    payload=ImageResize,
    summary="Resize an image given by URL, blob key or base64; the result is a blob.",
    timeout=60,
    examples=(
        {"source": {"url": "https://example.com/photo.jpg"}, "width": 800},
        {"source": {"blob": "photos/cat.png"}, "width": 200, "height": 200, "fit": "cover", "format": "WEBP", "quality": 80},
    ),
)
