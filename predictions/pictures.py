"""What the web host looks at in a picture before it stores it: the header, never the pixels.

Decoding untrusted bytes is the executor's work, inside its sandbox. Here only the kind (by content, not by name)
and the size that the header claims are read, so that a bomb is refused before anything can unpack it.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
CONTENT_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}

# Pillow's own guard counts differently and warns first; ours below is the one that decides.
Image.MAX_IMAGE_PIXELS = None


class RejectedPicture(ValueError):
    """A file that the person can replace by a better one; the text says what is wrong with it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def check_picture(file: UploadedFile[Any]) -> str:
    """The content type of `file`, read from its header; raises RejectedPicture. The file is left at its start."""
    size = file.size or 0
    name = shown_name(file.name)
    if size == 0:
        raise RejectedPicture(f"{name} is empty.", "empty_file")
    if size > settings.MAX_UPLOAD_BYTES:
        limit = settings.MAX_UPLOAD_BYTES // 1024**2
        raise RejectedPicture(f"{name} has {size / 1024**2:.1f} MB; at most {limit} MB are accepted.", "too_large")
    try:
        with Image.open(file, formats=FORMATS) as picture:
            kind, (width, height) = str(picture.format), picture.size
    except (OSError, ValueError, SyntaxError, OverflowError, MemoryError):
        raise RejectedPicture(f"{name} is not a PNG, JPEG or WebP picture.", "not_a_picture") from None
    finally:
        file.seek(0)
    if width * height > settings.MAX_IMAGE_PIXELS:
        raise RejectedPicture(
            f"{name} has {width * height / 1e6:.0f} million pixels ({width:,} by {height:,}); "
            f"at most {settings.MAX_IMAGE_PIXELS / 1e6:.0f} million are accepted.",
            "too_many_pixels",
        )
    return CONTENT_TYPES[kind]


def shown_name(name: str | None) -> str:
    """A file's name for a sentence: its last part, printable, at most 80 characters, in quotes."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if letter.isprintable()).strip()
    if not clean:
        return "The file"
    return f"“{clean}”" if len(clean) <= 80 else f"“{clean[:60]}…{clean[-16:]}”"
