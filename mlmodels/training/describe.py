"""Parts of a signature and of a manifest that recipes have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmodels.training.split import Split, labelled_digest

Spec = dict[str, Any]


def number(title: str, values: Sequence[float], *, low: float, high: float, unit: str = "", about: str = "") -> Spec:
    """A number field with its physical bounds, and what is typical in the data."""
    spec: Spec = {"type": "number", "title": title, "minimum": low, "maximum": high}
    if unit:
        spec["x-unit"] = unit
    if about:
        spec["description"] = about
    return spec | {"x-typical": typical(values), "examples": [tidy(float(np.median(values)))]}


def typical(values: Sequence[float]) -> list[float]:
    """The range that nine of ten values lie in."""
    return [tidy(float(end)) for end in np.percentile(values, [5, 95])]


def tidy(value: float) -> float:
    """Four significant digits: what a person wants to read."""
    return float(f"{value:.4g}")


def generous(values: Sequence[float]) -> float:
    """A round number at least twice the largest value: 1, 2 or 5 times a power of ten."""
    reach = 2 * max(values)
    step = 10.0 ** math.floor(math.log10(reach))
    return next(float(f"{times * step:.4g}") for times in (1, 2, 5, 10) if times * step >= reach)


def table_input(properties: dict[str, Spec], examples: list[dict[str, Any]]) -> Spec:
    """The input object of a table: every column required, in order."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "x-order": list(properties),
        "properties": properties,
        "examples": examples,
    }


def class_output(title: str, classes: list[str], labels: dict[str, str] | None = None) -> Spec:
    """The output of a classification."""
    label: Spec = {"type": "string", "title": title, "enum": classes}
    if labels:
        label["x-labels"] = labels
    chance = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["label", "probabilities"],
        "properties": {
            "label": label,
            "probabilities": {
                "type": "object",
                "title": "Probability of each class",
                "properties": dict.fromkeys(classes, chance),
            },
        },
    }


def number_output(title: str, targets: Sequence[float], unit: str = "", about: str = "") -> Spec:
    """The output of a regression, with the range of the targets that were trained on."""
    value: Spec = {"type": "number", "title": title}
    if unit:
        value["x-unit"] = unit
    if about:
        value["description"] = about
    value |= {"minimum": float(min(targets)), "maximum": float(max(targets))}
    value["x-typical"] = typical(targets)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["value"],
        "properties": {"value": value},
    }


def table_tensors(properties: dict[str, Spec], n_classes: int) -> Spec:
    """Numbers only: one matrix of them. Mixed columns: one tensor for each."""
    if all(spec["type"] == "number" for spec in properties.values()):
        inputs = [_tensor("input", "FP32", len(properties))]
    else:
        datatypes = {"number": "FP32", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
        inputs = [_tensor(name, datatypes[spec["type"]], 1) for name, spec in properties.items()]
    return {"inputs": inputs, "outputs": class_tensors(n_classes) if n_classes else [_tensor("value", "FP32", 1)]}


def class_tensors(n_classes: int) -> list[Spec]:
    """What a classification answers with, as tensors."""
    return [_tensor("probabilities", "FP32", n_classes), _tensor("label", "BYTES", 1)]


def picture_tensor(field: str) -> Spec:
    """A picture as the bytes of its file."""
    return _tensor(field, "BYTES", 1)


def _tensor(name: str, datatype: str, width: int) -> Spec:
    return {"name": name, "datatype": datatype, "shape": [-1, width]}


def dataset(name: str, title: str, source: str, parts: Split, targets: Sequence[object]) -> dict[str, Any]:
    """What the manifest says about the data: where from, how much, which rows held out."""
    return {
        "name": name,
        "title": title,
        "source": source,
        "rows": len(parts.hashes),
        "sha256": labelled_digest(parts.hashes, targets),
        "holdout_rows": len(parts.held_out),
        "holdout_sha256": parts.digest(parts.held_out),
    }
