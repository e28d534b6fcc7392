"""Whatever is sent: no error of ours, a sentence that helps, nothing stored, and what was typed is still there."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from mlmodels.models import MLModel, State
from predictions.models import Prediction, Upload
from tests import registry

GOOD = {"length": "80", "coat": "rough", "tame": "on"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.fixture(autouse=True)
def nothing_is_stored(db: None) -> Iterator[None]:
    yield
    assert (Prediction.objects.count(), Upload.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "Length"),
        ({**GOOD, "length": "long"}, "“long”"),
        ({**GOOD, "length": "nan"}, "“nan”"),
        ({**GOOD, "length": "1e400"}, "“1e400”"),
        ({**GOOD, "length": "1_000"}, "“1_000”"),
        ({**GOOD, "length": "201"}, "from 10 to 200 cm"),
        ({**GOOD, "length": "9.99"}, "from 10 to 200 cm"),
        ({**GOOD, "coat": "striped"}, "Coat"),
        ({**GOOD, "colour": "red"}, "There is no field “colour”."),
        ({**GOOD, "length": "80\x00"}, "Length"),
    ],
)
def test_a_wrong_value_is_named_and_what_was_typed_is_kept(
    browser_of_alice: Client, animals: MLModel, sent: dict[str, str], sentence: str
) -> None:
    response = browser_of_alice.post("/models/animals/", sent)
    page = response.content.decode()
    assert response.status_code == 422
    assert sentence in page
    if sent.get("coat") == "rough":
        assert '<option value="rough" selected>' in page


def test_the_summary_links_to_each_wrong_field(browser_of_alice: Client, animals: MLModel) -> None:
    page = browser_of_alice.post("/models/animals/", {**GOOD, "length": "x"}).content.decode()
    assert 'href="#field-length"' in page
    assert 'aria-describedby="field-length-hint field-length-about field-length-error"' in page
    assert 'id="field-length-error"' in page
    assert 'value="x"' in page


def header_of(width: int, height: int) -> bytes:
    """A whole PNG of one grey, however many pixels it claims: small on the wire, huge when unpacked."""
    rows = zlib.compressobj(9)
    line = b"\0" + bytes(width)
    data = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.txt", b"just words", "“notes.txt” is not a PNG, JPEG or WebP picture."),
        ("drawing.png", SVG, "“drawing.png” is not a PNG, JPEG or WebP picture."),
        ("page.png", b"<!doctype html><script>alert(1)</script>", "is not a PNG, JPEG or WebP picture."),
        ("animated.gif", b"GIF89a" + bytes(40), "is not a PNG, JPEG or WebP picture."),
        ("cut.png", registry.png()[:20], "“cut.png” is not a PNG, JPEG or WebP picture."),
        ("packed.png", gzip.compress(registry.png(), mtime=0), "is not a PNG, JPEG or WebP picture."),
        ("empty.png", b"", "is empty"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_content(
    browser_of_alice: Client, pictures: MLModel, name: str, content: bytes, sentence: str
) -> None:
    response = browser_of_alice.post("/models/pictures/", {"image": SimpleUploadedFile(name, content, "image/png")})
    assert response.status_code == 422
    assert sentence in response.content.decode()


def test_a_picture_that_would_unpack_to_177_megapixels_is_refused_by_its_header(
    browser_of_alice: Client, pictures: MLModel
) -> None:
    bomb = header_of(13_312, 13_312)
    assert len(bomb) < 250_000
    response = browser_of_alice.post("/models/pictures/", {"image": SimpleUploadedFile("b.png", bomb, "image/png")})
    assert response.status_code == 422
    assert "177 million pixels (13,312 by 13,312); at most 25 million" in response.content.decode()


def test_a_file_name_with_folders_and_300_characters_is_cut_for_the_page(
    browser_of_alice: Client, pictures: MLModel
) -> None:
    name = "../../" + "n" * 300 + "<b>.png"
    response = browser_of_alice.post("/models/pictures/", {"image": SimpleUploadedFile(name, b"no", "image/png")})
    page = response.content.decode()
    assert response.status_code == 422
    assert "../" not in page.replace("../static", "")
    assert "n" * 81 not in page
    assert "<b>.png" not in page


@pytest.mark.parametrize("text", ["data:image/png;base64,AAAA", "data:image/svg+xml;base64,AAAA", "hello", "data:,"])
def test_a_damaged_picture_in_the_page_is_asked_for_again(
    browser_of_alice: Client, pictures: MLModel, text: str
) -> None:
    response = browser_of_alice.post("/models/pictures/", {"image": text})
    assert response.status_code == 422
    assert text not in response.content.decode()


def test_a_file_for_a_field_that_takes_none_is_refused(browser_of_alice: Client, animals: MLModel) -> None:
    sent: dict[str, Any] = {**GOOD, "photo": SimpleUploadedFile("a.png", registry.png(), "image/png")}
    response = browser_of_alice.post("/models/animals/", sent)
    assert response.status_code == 422
    assert "There is no picture field “photo”." in response.content.decode()


def test_an_unknown_model_is_not_found(browser_of_alice: Client) -> None:
    assert browser_of_alice.get("/models/unknown/").status_code == 404
    assert browser_of_alice.post("/models/unknown/", GOOD).status_code == 404


@pytest.mark.parametrize("state", [State.QUARANTINED, State.REFUSED, State.CHECKING])
def test_a_model_whose_version_is_not_healthy_says_so_instead_of_showing_a_form(
    browser_of_alice: Client, state: str
) -> None:
    registry.live_model(state=state)
    shown, sent = browser_of_alice.get("/models/animals/"), browser_of_alice.post("/models/animals/", GOOD)
    assert (shown.status_code, sent.status_code) == (200, 503)
    assert "out of service" in shown.content.decode()
    assert "<form" not in shown.content.decode().partition("<main")[2]


def test_a_model_without_a_release_says_so(browser_of_alice: Client) -> None:
    MLModel.objects.create(slug="new", title="New", task="regression")
    page = browser_of_alice.get("/models/new/").content.decode()
    assert "no live version yet" in page


@pytest.mark.parametrize("number", ["7", "-1", "x", "9" * 30, "²"])
def test_an_example_that_does_not_exist_leaves_the_form_empty(
    browser_of_alice: Client, animals: MLModel, number: str
) -> None:
    response = browser_of_alice.get("/models/animals/", {"example": number})
    assert response.status_code == 200
    assert 'aria-current="true"' not in response.content.decode()
