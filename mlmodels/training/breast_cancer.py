"""Recipe: measurements of cell nuclei → malignant or benign."""

from __future__ import annotations

import math
from typing import Any

from sklearn.datasets import load_breast_cancer

from mlmodels.datasets import Dataset
from mlmodels.training import Report, own_table, tables
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


def dataset() -> Dataset:
    """The 569 samples that scikit-learn carries."""
    data = load_breast_cancer()
    if list(data.target_names) != CLASSES:
        raise ValueError("The data set lists its classes in another order than expected.")
    columns = [_column(str(name), data.data[:, index].max()) for index, name in enumerate(data.feature_names)]
    names = [column["name"] for column in columns]
    schema = {
        "slug": "breast-cancer",
        "title": "Breast cancer",
        "description": (
            "Tells malignant from benign breast tumours by thirty measurements of cell nuclei "
            "in a microscope picture of a fine-needle sample. A demonstration, not a diagnosis."
        ),
        "task": "classification",
        "recipe": "breast-cancer",
        "data_title": "Breast Cancer Wisconsin (Diagnostic), 569 samples",
        "source": "W. H. Wolberg, W. N. Street and O. L. Mangasarian, 1995; carried by scikit-learn",
        "columns": columns,
        "target": {
            "name": "diagnosis",
            "title": "Diagnosis",
            "kind": "choice",
            "values": CLASSES,
            "labels": {"malignant": "Malignant", "benign": "Benign"},
        },
    }
    rows = [dict(zip(names, row, strict=True)) for row in data.data.tolist()]
    return Dataset(schema, rows, [CLASSES[index] for index in data.target])


def _column(name: str, largest: float) -> dict[str, Any]:
    """The data set states no units; lengths and areas are as measured on its pictures."""
    kind = next(kind for kind in KINDS if kind in name.split())
    what = name.replace(kind, "").strip()
    return {
        "name": name.replace(" ", "_"),
        "title": f"{what.capitalize()} ({'standard error' if kind == 'error' else kind})",
        "kind": "number",
        "minimum": 0,
        "maximum": _generous(float(largest)),
        "description": f"{ABOUT[what]} {KINDS[kind]}",
    }


def _generous(largest: float) -> float:
    """A round number at least twice the largest value: 1, 2 or 5 times a power of ten."""
    reach = 2 * largest
    step = 10.0 ** math.floor(math.log10(reach))
    return next(float(f"{times * step:.4g}") for times in (1, 2, 5, 10) if times * step >= reach)


def train(dataset: Dataset, *, seed: int, epochs: int | None, progress: Report) -> Trained:
    """Fit, and describe for a visitor."""
    return own_table.fit(dataset, tables.Settings(), seed=seed, epochs=epochs, progress=progress, examples=_examples)


def _examples(fitted: tables.Fitted, dataset: Dataset) -> own_table.Examples:
    """Three of the samples it learned from: a middling one of each class, and the hardest."""
    malignant = [output["probabilities"]["malignant"] for output in fitted.module.predict(dataset.rows)]
    found = {name: [at for at, target in enumerate(dataset.targets) if target == name] for name in CLASSES}
    middle = {name: sorted(indices, key=malignant.__getitem__)[len(indices) // 2] for name, indices in found.items()}
    hardest = min(range(len(malignant)), key=lambda index: abs(malignant[index] - 0.5))
    return [
        {"title": "A sample that was malignant", "input": dataset.rows[middle["malignant"]]},
        {"title": "A sample that was benign", "input": dataset.rows[middle["benign"]]},
        {"title": f"A close call (it was {dataset.targets[hardest]})", "input": dataset.rows[hardest]},
    ]
