"""Digits drawn by hand, by people and with pens that the model has never seen."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.mlmodels.demos import read_digits
from tests.mlmodels.drawings import Drawing, load, render


def read_right(drawings: list[Drawing], pictures: list[Image.Image]) -> int:
    labels = read_digits(pictures)
    return sum(label == drawing["label"] for label, drawing in zip(labels, drawings, strict=True))


def test_there_are_five_recorded_drawings_of_every_digit() -> None:
    for which in ("recorded", "held_out"):
        labels = [drawing["label"] for drawing in load(which)]
        assert sorted(labels) == sorted("0123456789" * 5)


@pytest.mark.parametrize("which", ["recorded", "held_out"])
def test_of_fifty_drawings_at_least_forty_five_are_read(which: str) -> None:
    drawings = load(which)
    assert read_right(drawings, [render(drawing) for drawing in drawings]) >= 45


def on_grey_paper(picture: Image.Image) -> Image.Image:
    """Photographed: the paper is grey and darker to one side, the camera is noisy."""
    noise = np.random.default_rng(0).normal(0, 0.04, (picture.height, picture.width))
    down, across = np.mgrid[0 : 1 : picture.height * 1j, 0 : 1 : picture.width * 1j]
    paper = 0.75 - 0.25 * across - 0.1 * down
    levels = paper * (0.25 + 0.75 * np.asarray(picture, float) / 255) + noise
    return Image.fromarray((levels.clip(0, 1) * 255).astype(np.uint8))


def with_dirt(picture: Image.Image) -> Image.Image:
    pixels = np.array(picture)
    spots = np.random.default_rng(0).random(pixels.shape)
    pixels[spots < 0.005] = 0
    pixels[spots > 0.995] = 255
    return Image.fromarray(pixels)


def with_blots(drawing: Drawing) -> Image.Image:
    """Drops of ink in the corners, far outside the digit."""
    picture = render(drawing)
    brush = ImageDraw.Draw(picture)
    for x, y in ((8, 9), (270, 12), (11, 268), (266, 271)):
        brush.ellipse((x - 3, y - 3, x + 3, y + 3), fill=0 if drawing["ink"] == "dark" else 255)
    return picture


def on_transparent(picture: Image.Image) -> Image.Image:
    """A transparent PNG of black ink, laid on white as pictures that come in are."""
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    layer.putalpha(Image.eval(picture, lambda level: 255 - level))
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), layer).convert("RGB")


def inverted(picture: Image.Image) -> Image.Image:
    return Image.eval(picture, lambda level: 255 - level)


CONDITIONS: dict[str, Callable[[Drawing], Image.Image]] = {
    "a hairline": lambda drawing: render(drawing, pen=1),
    "a pen three times as thick": lambda drawing: render(drawing, pen=36),
    "a quarter of the size in a corner": lambda drawing: render(drawing, scale=0.25, shift=(-80, 80), pen=5),
    "off-centre over the edge": lambda drawing: render(drawing, scale=0.5, shift=(75, -70)),
    "the other polarity": lambda drawing: inverted(render(drawing)),
    "grey paper, noise": lambda drawing: on_grey_paper(render(drawing)),
    "blots": with_blots,
    "dirt": lambda drawing: with_dirt(render(drawing)),
    "few pixels": lambda drawing: render(drawing, side=28),
    "many pixels": lambda drawing: render(drawing, side=700),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_drawings_are_read_under_other_conditions(condition: str) -> None:
    drawings = load("recorded")
    assert read_right(drawings, [CONDITIONS[condition](drawing) for drawing in drawings]) >= 45


def test_transparent_drawings_are_read() -> None:
    drawings = [drawing for drawing in load("recorded") if drawing["ink"] == "dark"]
    right = read_right(drawings, [on_transparent(render(drawing)) for drawing in drawings])
    assert right >= 0.9 * len(drawings)
