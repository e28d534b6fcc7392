"""Recipe: measurements of cell nuclei → malignant or benign."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

from mlmodels.training import Report, describe, tables
from mlmodels.training.artifact import Trained

ABOUT = {
    "radius": "Distance from the centre of a nucleus to its edge.",
    "texture": "Spread of the grey values inside a nucleus.",
    "perimeter": "Length of the edge of a nucleus.",
    "area": "Area of a nucleus.",
    "smoothness": "How much the radius varies from one point of the edge to the next.",
    "compactness": "Perimeter squared over area, less one: 0 would be a line without width.",
    "concavity": "How deep the dents in the edge are.",
    "concave points": "How much of the edge is dented.",
    "symmetry": "How much the two halves of a nucleus differ.",
    "fractal dimension": "How rough the edge is, from the coastline approximation, less one.",
}
KINDS = {
    "mean": "Mean over all nuclei of the sample.",
    "error": "Standard error of the mean.",
    "worst": "Mean of the three largest values of the sample.",
}
CLASSES = ["malignant", "benign"]  # the data set's own order: 0 and 1


def train(*, seed: int, epochs: int | None, progress: Report) -> Trained:
    """Fit, judge, and describe for a visitor."""
    data = load_breast_cancer()
    if list(data.target_names) != CLASSES:
        raise ValueError("The data set lists its classes in another order than expected.")
    properties = {
        name.replace(" ", "_"): _field(name, data.data[:, index])
        for index, name in enumerate(map(str, data.feature_names))
    }
    rows = [dict(zip(properties, map(float, row), strict=True)) for row in data.data]
    columns = [{"name": name, "kind": "number"} for name in properties]
    table = tables.Table(columns, rows, data.target.astype(np.int64), CLASSES)
    settings = tables.Settings()
    fitted = tables.fit(table, replace(settings, epochs=epochs or settings.epochs), seed=seed, progress=progress)
    examples = _examples(fitted, table)
    middle = {name: spec["examples"][0] for name, spec in properties.items()}
    return Trained(
        slug="breast-cancer",
        title="Breast cancer",
        description=(
            "Tells malignant from benign breast tumours by thirty measurements of cell nuclei "
            "in a microscope picture of a fine-needle sample. A demonstration, not a diagnosis."
        ),
        task="classification",
        architecture="table-mlp",
        params=fitted.params,
        module=fitted.module,
        signature={
            "input": describe.table_input(properties, examples),
            "output": describe.class_output("Diagnosis", CLASSES, {"malignant": "Malignant", "benign": "Benign"}),
            "tensors": describe.table_tensors(properties, len(CLASSES)),
        },
        golden=[example["input"] for example in examples] + [middle],
        metrics=fitted.metrics,
        parameters=fitted.parameters,
        dataset=describe.dataset(
            "breast_cancer",
            "Breast Cancer Wisconsin (Diagnostic), 569 samples",
            "W. H. Wolberg, W. N. Street and O. L. Mangasarian, 1995; carried by scikit-learn",
            fitted.split,
            data.target.tolist(),
        ),
    )


def _field(name: str, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The data set states no units; lengths and areas are as measured on its pictures."""
    kind = next(kind for kind in KINDS if kind in name.split())
    what = name.replace(kind, "").strip()
    return describe.number(
        f"{what.capitalize()} ({'standard error' if kind == 'error' else kind})",
        values.tolist(),
        low=0,
        high=describe.generous(values.tolist()),
        about=f"{ABOUT[what]} {KINDS[kind]}",
    )


def _examples(fitted: tables.Fitted, table: tables.Table) -> list[dict[str, Any]]:
    """Three samples that were held out: a clear one of each class, and the hardest."""
    held = fitted.split.held_out
    outputs = fitted.module.predict([table.rows[index] for index in held])
    malignant = {index: output["probabilities"]["malignant"] for index, output in zip(held, outputs, strict=True)}
    by_class = {name: [index for index in held if table.classes[table.target[index]] == name] for name in CLASSES}
    middle = {name: sorted(found, key=malignant.__getitem__)[len(found) // 2] for name, found in by_class.items()}
    hardest = min(held, key=lambda index: abs(malignant[index] - 0.5))
    truth = table.classes[table.target[hardest]]
    return [
        {"title": "A sample that was malignant", "input": table.rows[middle["malignant"]]},
        {"title": "A sample that was benign", "input": table.rows[middle["benign"]]},
        {"title": f"A close call (it was {truth})", "input": table.rows[hardest]},
    ]
