"""Digits drawn by hand, kept as strokes, rendered as a canvas would.

data/drawings/recorded: what tests and people who tune look at.
data/drawings/held_out: other shapes, which nothing was ever tuned on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parent.parent / "data" / "drawings"
FINER = 4  # drawn this much larger, then averaged: smooth edges

Drawing = dict[str, Any]


def load(which: str) -> list[Drawing]:
    return [json.loads(path.read_bytes()) for path in sorted((FOLDER / which).glob("*.json"))]


def render(
    drawing: Drawing,
    *,
    pen: float | None = None,
    scale: float = 1.0,
    shift: tuple[float, float] = (0, 0),
    side: int | None = None,
) -> Image.Image:
    """The drawing on white (or, if its ink is light, on black); scaled about the middle, then shifted."""
    dark = drawing["ink"] == "dark"
    canvas = drawing["canvas"]
    zoom = (side or canvas) / canvas * FINER
    picture = Image.new("L", (round(canvas * zoom),) * 2, 255 if dark else 0)
    brush = ImageDraw.Draw(picture)
    radius = (pen or drawing["pen"]) * zoom / 2
    for stroke in drawing["strokes"]:
        points = [
            tuple(((at - canvas / 2) * scale + canvas / 2 + by) * zoom for at, by in zip(point, shift, strict=True))
            for point in stroke
        ]
        brush.line(points, fill=0 if dark else 255, width=max(1, round(2 * radius)))
        for x, y in points:
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0 if dark else 255)
    return picture.reduce(FINER)
