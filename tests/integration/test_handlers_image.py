"""The handler of image_resize, on real images."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter, PngImagePlugin

from dtq.blobs import BlobStore
from dtq.config import Settings, load_settings
from dtq.errors import Permanent
from dtq.jobs import ImageResize
from dtq.testing import FakeContext
from dtq_worker.handlers.image_resize import resize

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(bloburl=f"file://{tmp_path}")


def run(settings: Settings, data: bytes, **fields: Any) -> tuple[dict[str, Any], Image.Image]:
    """Resize ``data``; the result and the image it names."""
    source = {"base64": base64.b64encode(data).decode()}
    context = FakeContext(settings)
    result = resize(ImageResize.model_validate({"source": source, **fields}), context)
    assert context.output_key == result["blob"]
    stored = BlobStore.from_url(settings.bloburl).get(result["blob"], 10**8)
    assert result["bytes"] == len(stored)
    image = Image.open(io.BytesIO(stored))
    image.load()
    assert (result["width"], result["height"]) == image.size
    assert result["format"] == image.format
    return result, image


def failure(settings: Settings, data: bytes, **fields: Any) -> str:
    with pytest.raises(Permanent) as caught:
        run(settings, data, **{"width": 10, **fields})
    assert not list(Path(settings.bloburl.removeprefix("file://")).rglob("*.*"))
    return str(caught.value)


def saved(image: Image.Image, chosen: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, chosen, **options)
    return buffer.getvalue()


def photograph(width: int = 1200, height: int = 900, mode: str = "RGB") -> Image.Image:
    """Something with the smooth parts, edges and grain of a photograph."""
    sky = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (sky, ImageChops.invert(sky), Image.radial_gradient("L").resize((width, height))))
    draw = ImageDraw.Draw(image)
    for number in range(12):
        left = width * number // 12
        draw.ellipse((left, height // 3, left + width // 8, height), fill=(20 * number, 200 - 10 * number, 90))
    grain = Image.effect_noise((width, height), 30).convert("RGB")
    return ImageChops.add(image, grain, 1.5).filter(ImageFilter.GaussianBlur(0.6)).convert(mode)


def quarters(mode: str = "RGB") -> Image.Image:
    """400 x 200: red above blue on the left, green on the right."""
    image = Image.new("RGB", (400, 200), GREEN)
    image.paste(RED, (0, 0, 200, 100))
    image.paste(BLUE, (0, 100, 200, 200))
    return image.convert(mode)


def close(found: Any, wanted: tuple[int, ...], tolerance: int = 12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(found, wanted, strict=True))


def test_a_photograph_is_made_smaller_and_still_looks_like_itself(settings: Settings) -> None:
    photo = photograph()
    result, image = run(settings, saved(photo, "JPEG", quality=92), width=300)
    assert (result["source_width"], result["source_height"], result["source_format"]) == (1200, 900, "JPEG")
    assert image.size == (300, 225)
    wanted = photo.resize((300, 225), Image.Resampling.BICUBIC)
    difference = ImageChops.difference(image, wanted).convert("L").histogram()
    assert sum(value * count for value, count in enumerate(difference)) / (300 * 225) < 6


@pytest.mark.parametrize("chosen", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_every_format_becomes_every_other(settings: Settings, source: str, chosen: str) -> None:
    result, image = run(settings, saved(quarters(), source), width=40, format=chosen)
    assert result["blob"].endswith({"JPEG": ".jpg"}.get(chosen, f".{chosen.lower()}"))
    assert close(image.convert("RGB").getpixel((5, 5)), RED, 40)
    assert close(image.convert("RGB").getpixel((35, 10)), GREEN, 40)


@pytest.mark.parametrize(
    ("source", "kept"), [("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WEBP"), ("AVIF", "AVIF"), ("GIF", "PNG"), ("TIFF", "PNG")]
)
def test_the_format_stays_when_it_can(settings: Settings, source: str, kept: str) -> None:
    assert run(settings, saved(quarters(), source), width=40)[0]["format"] == kept


@pytest.mark.parametrize(
    ("fit", "size", "left", "middle"),
    [("contain", (100, 50), RED, GREEN), ("cover", (100, 100), RED, GREEN), ("fill", (100, 100), RED, GREEN)],
)
def test_fit_decides_on_size_and_cut(settings: Settings, fit: str, size: tuple[int, int], left: Any, middle: Any) -> None:
    _, image = run(settings, saved(quarters(), "PNG"), width=100, height=100, fit=fit)
    assert image.size == size
    assert close(image.getpixel((5, 5)), left)
    assert close(image.getpixel((60, 5)), middle)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fields", [{"width": 100}, {"width": 60, "height": 80, "fit": "cover"}, {"height": 50, "width": 90}])
def test_an_image_is_turned_the_way_its_exif_data_says(settings: Settings, orientation: int, fields: dict[str, Any]) -> None:
    """As if it had been turned first, the way Pillow itself does it, and resized then."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(quarters(), "JPEG", exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    _, wanted = run(settings, saved(upright, "PNG"), **fields)
    result, image = run(settings, data, **fields)
    assert (result["source_width"], result["source_height"]) == upright.size
    assert image.size == wanted.size
    for x, y in ((4, 4), (image.width - 5, 4), (4, image.height - 5), (image.width - 5, image.height - 5)):
        assert close(image.getpixel((x, y)), wanted.convert("RGB").getpixel((x, y)), 30)  # type: ignore[arg-type]


def test_metadata_is_left_out(settings: Settings) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "secret place")
    sources = [
        saved(quarters(), "JPEG", exif=exif, comment=b"secret place", dpi=(300, 300), xmp=b"secret place"),
        saved(quarters(), "PNG", exif=exif, pnginfo=text),
        saved(quarters(), "WEBP", exif=exif, xmp=b"secret place"),
    ]
    for data in sources:
        for chosen in ("JPEG", "PNG", "WEBP", "AVIF"):
            result, image = run(settings, data, width=50, format=chosen)
            stored = BlobStore.from_url(settings.bloburl).get(result["blob"], 10**6)
            assert b"secret place" not in stored
            assert not dict(image.getexif())
            assert "icc_profile" not in image.info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("chosen", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_every_kind_of_pixels_is_understood(settings: Settings, mode: str, chosen: str) -> None:
    image = Image.new("I;16", (400, 200), 40_000) if mode == "I;16" else quarters(mode)
    _, found = run(settings, saved(image, "TIFF"), width=40, format=chosen)
    if mode == "I;16":
        assert close((cast(int, found.convert("L").getpixel((5, 5))),), (156,))


def test_transparency_becomes_white_in_jpeg_and_stays_elsewhere(settings: Settings) -> None:
    clear = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    assert close(run(settings, saved(clear, "PNG"), width=10, format="JPEG")[1].getpixel((5, 5)), (255, 255, 255))
    for chosen in ("PNG", "WEBP", "AVIF"):
        assert cast("tuple[int, ...]", run(settings, saved(clear, "PNG"), width=10, format=chosen)[1].getpixel((5, 5)))[3] == 0
    palette = quarters("P")
    gif = saved(palette, "GIF", transparency=palette.getpixel((300, 100)))
    assert cast("tuple[int, ...]", run(settings, gif, width=40)[1].convert("RGBA").getpixel((35, 10)))[3] == 0


def test_cmyk_becomes_rgb(settings: Settings) -> None:
    _, image = run(settings, saved(quarters("CMYK"), "JPEG"), width=40)
    assert image.mode == "RGB"
    assert close(image.getpixel((5, 5)), RED, 40)


def test_colours_of_a_profile_are_converted(settings: Settings) -> None:
    """The same numbers mean other colours in another space; without the profile they must change to look the same."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = (
        srgb.replace(b"rXYZ", b"????")
        .replace(b"bXYZ", b"rXYZ")
        .replace(b"????", b"bXYZ")
        .replace("sRGB".encode("utf-16-be"), b"\0s\0w\0a\0p")
    )
    image = Image.new("RGBA", (40, 20), (255, 0, 0, 128))
    for profile, colour in ((srgb, RED), (swapped, BLUE)):
        found = run(settings, saved(image, "PNG", icc_profile=profile), width=20)[1].getpixel((5, 5))
        assert close(found, (*colour, 128))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_broken_profile_is_ignored(settings: Settings, mode: str) -> None:
    run(settings, saved(quarters(mode), "JPEG", icc_profile=b"nonsense" * 20), width=40)


def test_an_animation_gives_its_first_frame(settings: Settings) -> None:
    frames = [Image.new("RGB", (100, 100), colour) for colour in (RED, GREEN, BLUE)]
    for chosen in ("GIF", "WEBP", "PNG"):
        _, image = run(settings, saved(frames[0], chosen, save_all=True, append_images=frames[1:]), width=10)
        assert getattr(image, "n_frames", 1) == 1
        assert close(image.convert("RGB").getpixel((5, 5)), RED, 20)


def test_quality_decides_on_the_size_of_the_file(settings: Settings) -> None:
    data = saved(photograph(400, 300), "PNG")
    for chosen in ("JPEG", "WEBP", "AVIF"):
        small, large = (run(settings, data, width=200, format=chosen, quality=quality)[0]["bytes"] for quality in (10, 95))
        assert small * 2 < large


def test_a_small_image_can_grow(settings: Settings) -> None:
    assert run(settings, saved(quarters(), "PNG"), width=1000)[1].size == (1000, 500)


def test_the_output_key_can_be_chosen(settings: Settings) -> None:
    assert run(settings, saved(quarters(), "PNG"), width=10, output="thumbs/a.png")[0]["blob"] == "thumbs/a.png"


def test_the_source_can_be_a_blob(settings: Settings) -> None:
    BlobStore.from_url(settings.bloburl).put("in.png", saved(quarters(), "PNG"))
    payload = ImageResize.model_validate({"source": {"blob": "in.png"}, "width": 10})
    assert resize(payload, FakeContext(settings))["width"] == 10


def test_a_blob_or_host_that_is_not_there_is_told(settings: Settings) -> None:
    for source, words in (({"blob": "none"}, "no blob 'none'"), ({"url": "http://127.0.0.1:9/x.png"}, "FETCHALLOW")):
        with pytest.raises(Permanent, match=words):
            resize(ImageResize.model_validate({"source": source, "width": 10}), FakeContext(settings))


def png_header(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG that declares any size and holds nearly nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(settings: Settings, width: int, height: int) -> None:
    message = failure(settings, png_header(width, height))
    assert f"{width} x {height}" in message
    assert "IMAGEMAXPIXELS" in message


@pytest.mark.parametrize("chosen", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_the_pixel_limit_holds_for_every_format(settings: Settings, chosen: str) -> None:
    tight = settings.model_copy(update={"imagemaxpixels": 79_999})
    assert "IMAGEMAXPIXELS" in failure(tight, saved(quarters(), chosen))


def test_a_result_beyond_the_pixel_limit_is_refused(settings: Settings) -> None:
    tight = settings.model_copy(update={"imagemaxpixels": 100_000})
    assert "the result" in failure(tight, saved(quarters(), "PNG"), width=2000)


def test_a_thin_image_does_not_grow_without_bounds(settings: Settings) -> None:
    assert "the most for one side" in failure(settings, saved(Image.new("L", (1, 5000)), "PNG"), width=5, height=None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"just some text\n" * 10, "text file"),
        ("Grüße\n".encode() * 100, "text file"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "text file"),
        (bytes(range(256)), "unknown format"),
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b"\xff\xd8\xff", "image"),
    ],
)
def test_what_is_no_image_is_told_by_what_it_is(settings: Settings, data: bytes, words: str) -> None:
    assert words in failure(settings, data)


def test_an_empty_source_is_told(settings: Settings) -> None:
    BlobStore.from_url(settings.bloburl).put("empty", b"")
    with pytest.raises(Permanent, match="0 bytes"):
        resize(ImageResize.model_validate({"source": {"blob": "empty"}, "width": 10}), FakeContext(settings))


@pytest.mark.parametrize("chosen", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_a_truncated_image_is_permanent(settings: Settings, chosen: str, part: float) -> None:
    data = saved(photograph(300, 200), chosen)
    assert failure(settings, data[: int(len(data) * part)])


@pytest.mark.parametrize("chosen", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_damaged_bytes_never_end_in_anything_but_a_result_or_a_permanent_failure(settings: Settings, chosen: str) -> None:
    data = saved(photograph(120, 80), chosen)
    for start in range(0, len(data), max(1, len(data) // 40)):
        broken = bytearray(data)
        broken[start : start + 8] = b"\xff\x00\xfe\x7f\x80\x01\xaa\x55"
        with contextlib.suppress(Permanent):
            run(settings, bytes(broken), width=10)
