"""Pictures that strangers sent, decoded. Runs inside the sandboxed child only.

The size is read from the header before anything is decoded, so a small file cannot unfold into
gigabytes. Only three formats are ever tried, whatever the file is called.
"""

from __future__ import annotations

import io
import struct

from PIL import (
    Image,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

FORMATS = ("PNG", "JPEG", "WEBP")
# Imported here although PIL would do so by itself, later: after the sandbox has closed.
PLUGINS = (PngImagePlugin, JpegImagePlugin, MpoImagePlugin, WebPImagePlugin)
MOST_PIXELS = 25_000_000
PREVIEW_PIXELS = 512  # per side

Image.MAX_IMAGE_PIXELS = None  # our own, lower limit stands in front of every decoder


class BadPicture(Exception):
    """The bytes are no picture that this site can use; the text is a sentence for the sender."""


def decode(data: bytes) -> Image.Image:
    """The first frame of a PNG, JPEG or WebP, upright, as "L" or "RGB", transparency on white."""
    try:
        _check_size(webp_size(data))
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _check_size(picture.size)
            picture.load()
            return _flat(_upright(picture))
    except UnidentifiedImageError:
        raise BadPicture("This file is not a PNG, JPEG or WebP picture.") from None
    except (BadPicture, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything on bytes made to break them
        raise BadPicture("This picture is damaged or incomplete.") from error


def preview(picture: Image.Image) -> bytes:
    """`picture` as a fresh PNG of at most 512 by 512 pixels, without anything the sender embedded."""
    small = picture.copy()
    small.info = {}
    small.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from a WebP header; None for anything else.

    Needed because PIL gives the whole canvas to the WebP decoder while it only opens the file.
    """
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _check_size(size: tuple[int, int] | None) -> None:
    if size and size[0] * size[1] > MOST_PIXELS:
        raise BadPicture(
            f"This picture has {size[0] * size[1] / 1e6:.0f} million pixels;"
            f" at most {MOST_PIXELS // 1_000_000} million are accepted."
        )


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 -- broken EXIF data says nothing about the picture itself
        return picture


def _flat(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        return _eight_bit(picture)
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return picture.convert("L" if picture.mode in ("L", "1", "F") else "RGB")


def _eight_bit(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 bits a pixel, its brightness kept (PIL alone would clip it)."""
    if picture.mode != "I":
        picture = picture.convert("I")
    return picture.point(lambda value: value * (1 / 256)).convert("L")
