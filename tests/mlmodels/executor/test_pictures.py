"""Pictures from strangers: decoded right, or refused in a sentence, and never unfolded without bound."""

import io
import struct
import zlib

import pytest
from PIL import Image

from mlmodels.executor import ItemError, ItemOutput, pictures
from tests.mlmodels.executor.conftest import Load


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that unfolds into width x height grey pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def refusal(data: bytes) -> str:
    with pytest.raises(pictures.BadPicture) as caught:
        pictures.decode(data)
    return str(caught.value)


GREY = Image.linear_gradient("L")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("mode", "expected"), [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGB")])
def test_the_three_formats_are_decoded_to_grey_or_colour(kind: str, mode: str, expected: str) -> None:
    if (kind, mode) == ("JPEG", "RGBA"):
        return
    picture = pictures.decode(encoded(GREY.convert(mode), kind))
    assert picture.size == (256, 256)
    assert picture.mode == ("RGB" if kind == "WEBP" else expected)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO"])
def test_other_formats_are_refused(kind: str) -> None:
    assert refusal(encoded(GREY, kind)) == "This file is not a PNG, JPEG or WebP picture."


@pytest.mark.parametrize(
    "data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0" * 100, b"RIFF\0\0\0\0WEBP" * 9]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert refusal(data).startswith("This ")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind: str, part: float) -> None:
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    data = encoded(noise, kind)
    assert refusal(data[: int(len(data) * part)]) in (
        "This picture is damaged or incomplete.",
        "This file is not a PNG, JPEG or WebP picture.",
    )


def test_a_huge_picture_in_a_small_file_is_refused_from_its_header() -> None:
    data = bomb(13_300, 13_300)
    assert len(data) < 30_000
    assert refusal(data) == "This picture has 177 million pixels; at most 25 million are accepted."


@pytest.mark.parametrize(
    "body",
    [
        b"VP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0",
        b"VP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0",
        b"VP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f",
    ],
)
def test_a_huge_webp_is_refused_before_its_decoder_sees_it(body: bytes) -> None:
    assert (
        refusal(b"RIFF\x16\0\0\0WEBP" + body) == "This picture has 268 million pixels; at most 25 million are accepted."
    )


def test_the_webp_header_is_read_as_its_writer_meant_it() -> None:
    for options in ({"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}):
        assert pictures.webp_size(encoded(Image.new("RGB", (37, 21)), "WEBP", **options)) == (37, 21)


def test_transparency_becomes_white() -> None:
    clear = encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    assert pictures.decode(clear).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    assert pictures.decode(encoded(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_a_rotated_photo_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pictures.decode(encoded(Image.new("RGB", (20, 10)), "JPEG", exif=exif)).size == (10, 20)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_data_does_not_cost_the_picture() -> None:
    data = encoded(Image.new("RGB", (20, 10)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 40)
    assert pictures.decode(data).size == (20, 10)


def test_sixteen_bits_keep_their_brightness() -> None:
    deep = Image.new("I;16", (4, 4), 32768)
    picture = pictures.decode(encoded(deep))
    assert picture.mode == "L"
    assert picture.getpixel((0, 0)) == 128


def test_print_colours_become_screen_colours() -> None:
    cyan = encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG")
    red, green, blue = pictures.decode(cyan).getpixel((4, 4))  # type: ignore[misc]
    assert (red < 60, green > 150, blue > 150) == (True, True, True)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    white, black = Image.new("L", (8, 8), 255), Image.new("L", (8, 8), 0)
    data = encoded(white.convert("RGB"), kind, save_all=True, append_images=[black.convert("RGB")])
    assert pictures.decode(data).convert("L").getpixel((0, 0)) == 255


def test_a_preview_is_small_and_carries_nothing_of_the_sender() -> None:
    secret = b"a note that nobody should see"
    wide = encoded(Image.new("RGB", (2000, 1000)), "JPEG", icc_profile=secret, comment=secret)
    seen = pictures.preview(pictures.decode(wide))
    assert secret not in seen
    with Image.open(io.BytesIO(seen)) as picture:
        assert (picture.format, picture.size) == ("PNG", (512, 256))


def test_an_executor_returns_previews_and_fails_the_bad_picture_alone(load: Load) -> None:
    bright, dark = (encoded(Image.new("L", (600, 300), level)) for level in (250, 5))
    items = [{"x": bright}, {"x": bright[:60]}, {"x": bomb(13_300, 13_300)}, {"x": dark}]
    outcomes = load("picture").predict(items, 10).outcomes
    labels = [outcome.output["label"] if isinstance(outcome, ItemOutput) else outcome for outcome in outcomes]
    assert labels == [
        "high",
        ItemError("bad_input", "This picture is damaged or incomplete."),
        ItemError("bad_input", "This picture has 177 million pixels; at most 25 million are accepted."),
        "low",
    ]
    last = outcomes[-1]
    assert isinstance(last, ItemOutput)
    with Image.open(io.BytesIO(last.previews["x"])) as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((512, 256), 5)
