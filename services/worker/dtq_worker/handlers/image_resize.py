"""Handler of ``image_resize``. It runs in a process of its own, so a decoder that hangs or crashes hurts one job only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image, ImageCms, UnidentifiedImageError

from dtq.blobkey import default_key
from dtq.errors import Permanent
from dtq.jobs.image_resize import ImageResize
from dtq.registry import JobContext
from dtq_worker.handlers.image_plan import plan_resize, redrafted
from dtq_worker.handlers.inputs import store_blob
from dtq_worker.handlers.sources import read_source

__all__ = ["resize"]

READABLE = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000")
"""Formats that are opened. Not among them: those that run other programs (EPS) or hold no picture of their own."""

OUTPUTS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "AVIF": "avif"}
"""Formats that can be written, with their extension."""

REDUCING_GAP = 2.0
"""A JPEG is decoded at the smallest eighth of its size that is still this much larger than the result; more looks no better."""

MAX_OUTPUT_SIDE = 16_383
"""WebP's limit; JPEG and AVIF have 65,535."""

_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.MAX_IMAGE_PIXELS = None  # IMAGEMAXPIXELS is checked instead, in _open, before a pixel is decoded


def resize(payload: ImageResize, ctx: JobContext) -> dict[str, Any]:
    """Resize an image and store the result.

    Returns:
        ``{blob, format, width, height, bytes, source_format, source_width, source_height}``; the source's size is as
        shown, its orientation applied.
    """
    data = read_source(payload.source, ctx.settings)
    ctx.progress(0.3, "read")
    with _as_permanent():
        image = _open(data, ctx.settings.imagemaxpixels)
        source_format = "JPEG" if image.format == "MPO" else image.format or ""
        turn = _TRANSPOSE.get(_orientation(image))
        shown = _turned(image.size, turn)
        result = _resized(image, payload, turn, ctx.settings.imagemaxpixels)
        chosen = payload.format or (source_format if source_format in OUTPUTS else "PNG")
        encoded = _encode(result, chosen, payload.quality)
    ctx.progress(0.9, "resized")
    key = payload.output or default_key(ctx.id, OUTPUTS[chosen])
    store_blob(key, encoded, ctx.settings)
    ctx.output(key)
    return {
        "blob": key,
        "format": chosen,
        "width": result.width,
        "height": result.height,
        "bytes": len(encoded),
        "source_format": source_format,
        "source_width": shown[0],
        "source_height": shown[1],
    }


@contextmanager
def _as_permanent() -> Iterator[None]:
    """Whatever a decoder says of damaged data, it will say again."""
    try:
        yield
    except (Permanent, MemoryError):
        raise
    except Exception as error:
        raise Permanent(f"the image is damaged or incomplete: {error or type(error).__name__}") from error


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header only, and refuse what is no image or too large a one."""
    if not data:
        raise Permanent("the source is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=READABLE)
    except UnidentifiedImageError:
        raise Permanent(f"the source is not an image that can be read: {_describe(data)}") from None
    _check_pixels("the image", image.size, max_pixels)
    return image


def _check_pixels(what: str, size: tuple[int, int], max_pixels: int) -> None:
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise Permanent(f"{what} would have {size[0]} x {size[1]} = {pixels} pixels, {max_pixels} are allowed (IMAGEMAXPIXELS)")


def _describe(data: bytes) -> str:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    lowered = head.lower()
    if b"<svg" in lowered:
        return "it is SVG, a drawing; convert it to PNG first"
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "it is a web page"
    if head.startswith(b"%PDF"):
        return "it is a PDF document"
    if b"ftyphei" in data[:32] or b"ftypmif1" in data[:32]:
        return "it is HEIF; convert it to JPEG first"
    if b"\0" not in head and _is_text(head):
        return "it is a text file"
    return f"unknown format, or too damaged to tell ({len(data)} bytes, JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF and JPEG 2000 are known)"


def _is_text(head: bytes) -> bool:
    try:
        head[:-4].decode()
    except UnicodeDecodeError:
        return False
    return True


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 when the tag is missing or the EXIF data broken."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - metadata that cannot be read must not spoil a picture that can
        return 1
    return value if isinstance(value, int) else 1


def _turned(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    quarter = turn in {Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90}
    return (size[1], size[0]) if quarter else size


def _resized(image: Image.Image, payload: ImageResize, turn: Image.Transpose | None, max_pixels: int) -> Image.Image:
    """The image at its new size. It is resized as it lies in the file and turned afterwards, when it is small."""
    width, height = payload.width, payload.height
    if _turned((0, 1), turn) == (1, 0):
        width, height = height, width
    source = image.size
    plan = plan_resize(source, width, height, payload.fit)
    _check_pixels("the result", plan.size, max_pixels)
    if max(plan.size) > MAX_OUTPUT_SIDE:
        raise Permanent(f"the result would have {plan.size[0]} x {plan.size[1]} pixels, {MAX_OUTPUT_SIDE} are the most for one side")
    profile = image.info.get("icc_profile")
    _draft(image, plan.size, plan.box)
    drawn = _plain_mode(image)
    plan = redrafted(plan, drawn.size, source)
    small = drawn.resize(plan.size, Image.Resampling.BICUBIC, box=plan.box, reducing_gap=REDUCING_GAP)
    small = _to_srgb(small, profile)
    return small if turn is None else small.transpose(turn)


def _draft(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    """Let the JPEG decoder skip what the result would not show. Other formats ignore it."""
    scale = max(size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1])) * REDUCING_GAP
    if scale < 1:
        image.draft(None, (max(1, int(image.width * scale)), max(1, int(image.height * scale))))


def _plain_mode(image: Image.Image) -> Image.Image:
    """The decoded image in a mode that can be resized smoothly: L, LA, RGB, RGBA or CMYK."""
    image.load()
    if image.mode in {"L", "LA", "RGB", "RGBA", "CMYK"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if "transparency" in image.info or image.mode in {"PA", "RGBa", "La"}:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in {"1", "F"} else "RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image in the colours that software assumes when no profile is attached."""
    alpha = image.getchannel("A") if image.mode in {"RGBA", "LA"} else None
    base = image.convert("RGB" if image.mode == "RGBA" else "L") if alpha is not None else image
    converted = _by_profile(base, profile) if profile else None
    if converted is None:
        converted = base.convert("RGB") if base.mode == "CMYK" else base
    if alpha is not None:
        converted = converted.convert("RGB") if converted.mode not in {"L", "RGB"} else converted
        converted.putalpha(alpha)
    return converted


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """``image`` converted from its colour profile to sRGB; None when it has that, or the profile does not fit."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        mode = "RGB" if image.mode == "CMYK" else image.mode
        if mode == "L":
            return None
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _encode(image: Image.Image, chosen: str, quality: int | None) -> bytes:
    """The file, without any metadata of the source."""
    image.info.clear()
    if chosen == "JPEG" and image.mode in {"RGBA", "LA"}:
        white = Image.new("RGB", image.size, "white")
        white.paste(image.convert("RGBA"), mask=image.getchannel("A"))
        image = white
    options: dict[str, Any] = {} if quality is None or chosen == "PNG" else {"quality": quality}
    buffer = io.BytesIO()
    image.save(buffer, chosen, **options)
    return buffer.getvalue()
