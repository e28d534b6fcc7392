"""Signatures for modules of one's own, made from the numbers or pictures that they are for."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

EXAMPLES = 3
Spec = dict[str, Any]


def signature_of_numbers(columns: Mapping[str, Sequence[float]], target: str, classes: Sequence[str] = ()) -> Spec:
    """Columns of numbers (name to the numbers seen) → a class, or a number where there are no classes.

    The form accepts half a range beyond what was seen; the first rows are the examples.
    """
    seen = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    rows = [dict(zip(seen, row, strict=True)) for row in np.stack(list(seen.values()), axis=1)[:EXAMPLES].tolist()]
    properties = {name: _number(name, values) for name, values in seen.items()}
    tensor = {"name": "input", "datatype": "FP32", "shape": [-1, len(seen)]}
    return _signature(properties, rows, tensor, target, classes)


def signature_of_pictures(pictures: Sequence[Image.Image], target: str, classes: Sequence[str]) -> Spec:
    """A picture → a class; the first pictures are the examples."""
    rows = [{"image": data_uri(picture)} for picture in pictures[:EXAMPLES]]
    field = {"type": "string", "format": "image", "contentMediaType": "image/png", "title": "Picture"}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [-1, 1]}
    return _signature({"image": field}, rows, tensor, target, classes)


def data_uri(picture: Image.Image) -> str:
    """The picture as a manifest holds it."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _number(name: str, values: np.ndarray[Any, Any]) -> Spec:
    low, high = float(values.min()), float(values.max())
    spread = (high - low) / 2 or 1.0
    return {
        "type": "number",
        "title": name.replace("_", " ").capitalize(),
        "minimum": float(f"{low - spread:.4g}"),
        "maximum": float(f"{high + spread:.4g}"),
        "x-typical": [float(end) for end in np.percentile(values, [5, 95])],
        "examples": [float(np.median(values))],
    }


def _signature(
    properties: dict[str, Spec], rows: list[Spec], tensor: Spec, target: str, classes: Sequence[str]
) -> Spec:
    examples = [{"title": f"Example {number}", "input": row} for number, row in enumerate(rows, 1)]
    names = list(properties)
    return {
        "input": {
            "type": "object", "additionalProperties": False, "required": names, "x-order": names,
            "properties": properties, "examples": examples,
        },
        "output": _classes(target, [str(name) for name in classes]) if len(classes) else _value(target),
        "tensors": {"inputs": [tensor], "outputs": [_answers(len(classes))]},
    }  # fmt: skip


def _classes(title: str, classes: list[str]) -> Spec:
    chance = {"type": "number", "minimum": 0, "maximum": 1}
    chances = {"type": "object", "title": "Probability of each class", "properties": dict.fromkeys(classes, chance)}
    label = {"type": "string", "title": title, "enum": classes}
    return {
        "type": "object", "additionalProperties": False, "required": ["label", "probabilities"],
        "properties": {"label": label, "probabilities": chances},
    }  # fmt: skip


def _value(title: str) -> Spec:
    return {
        "type": "object", "additionalProperties": False, "required": ["value"],
        "properties": {"value": {"type": "number", "title": title}},
    }  # fmt: skip


def _answers(n_classes: int) -> Spec:
    name, width = ("probabilities", n_classes) if n_classes else ("value", 1)
    return {"name": name, "datatype": "FP32", "shape": [-1, width]}
