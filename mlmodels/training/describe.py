"""Parts of a signature and of a manifest that recipes have in common, made from a dataset and its schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmodels.datasets import SHORT, Dataset, labelled_digest

Spec = dict[str, Any]


def fields(data: Dataset) -> dict[str, Spec]:
    """The properties of the input: bounds and words from the schema, what is typical from the rows."""
    return {column["name"]: _field(column, data) for column in data.schema["columns"]}


def _field(column: Spec, data: Dataset) -> Spec:
    kind = column["kind"]
    spec: Spec = {"type": kind, "title": column["title"]}
    if kind == "image":
        spec |= {"type": "string", "format": "image", "contentMediaType": "image/png"}
    spec |= {key: column[key] for key in ("minimum", "maximum", "description") if key in column}
    spec |= {f"x-{key}": column[key] for key in ("unit", "labels", "draw") if key in column}
    values = [row[column["name"]] for row in data.rows if column["name"] in row] if kind != "image" else []
    if kind == "choice":
        spec |= {"type": "string", "enum": column["values"]}
    if kind in ("number", "integer") and values:
        spec["x-typical"] = typical(values)
        middle = float(np.median(values))
        spec["examples"] = [tidy(middle) if kind == "number" else int(middle)]
    elif values:
        spec["examples"] = [Counter(values).most_common(1)[0][0]]
    return spec


def typical(values: Sequence[float]) -> list[float]:
    """The range that nine of ten values lie in."""
    return [tidy(float(end)) for end in np.percentile(values, [5, 95])]


def tidy(value: float) -> float:
    """Four significant digits: what a person wants to read."""
    return float(f"{value:.4g}")


def signature(data: Dataset, examples: list[dict[str, Any]]) -> Spec:
    """The whole signature: input, output and tensors."""
    properties = fields(data)
    answer = _class_output(data) if data.classes else _number_output(data)
    return {
        "input": _input(data, properties, examples),
        "output": answer,
        "tensors": _tensors(properties, len(data.classes)),
    }


def _input(data: Dataset, properties: dict[str, Spec], examples: list[dict[str, Any]]) -> Spec:
    """Every column in order; required unless it may be absent."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [column["name"] for column in data.schema["columns"] if not column.get("missing")],
        "x-order": list(properties),
        "properties": properties,
        "examples": examples,
    }


def _class_output(data: Dataset) -> Spec:
    target = data.schema["target"]
    label: Spec = {"type": "string", "title": target["title"], "enum": data.classes}
    if "labels" in target:
        label["x-labels"] = target["labels"]
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
                "properties": dict.fromkeys(data.classes, chance),
            },
        },
    }


def _number_output(data: Dataset) -> Spec:
    """The output of a regression, with the range of the targets that were trained on."""
    target, numbers = data.schema["target"], [float(value) for value in data.targets]
    value: Spec = {"type": "number", "title": target["title"]}
    value |= {"x-unit": target["unit"]} if "unit" in target else {}
    value |= {"description": target["description"]} if "description" in target else {}
    value |= {"minimum": min(numbers), "maximum": max(numbers), "x-typical": typical(numbers)}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["value"],
        "properties": {"value": value},
    }


def _tensors(properties: dict[str, Spec], n_classes: int) -> Spec:
    """Numbers only: one matrix of them. Mixed columns: one tensor for each; a picture is the bytes of its file."""
    if all(spec["type"] == "number" for spec in properties.values()):
        inputs = [_tensor("input", "FP32", len(properties))]
    else:
        datatypes = {"number": "FP32", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
        inputs = [_tensor(name, datatypes[spec["type"]], 1) for name, spec in properties.items()]
    classes = [_tensor("probabilities", "FP32", n_classes), _tensor("label", "BYTES", 1)]
    return {"inputs": inputs, "outputs": classes if n_classes else [_tensor("value", "FP32", 1)]}


def _tensor(name: str, datatype: str, width: int) -> Spec:
    return {"name": name, "datatype": datatype, "shape": [-1, width]}


def dataset(data: Dataset) -> dict[str, Any]:
    """What the manifest says about the data: where from, which snapshot, which rows were trained on."""
    schema, hashes = data.schema, data.hashes()
    whole = schema.get("snapshot") or {
        "sha256": labelled_digest(hashes, data.targets), "rows": len(hashes), "holdout_rows": 0,
    }  # fmt: skip
    return {
        "title": schema.get("data_title", ""),
        "source": schema["source"],
        **whole,
        "row_hashes": sorted({digest[:SHORT] for digest in hashes}),
    }
