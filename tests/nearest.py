"""An architecture and a recipe that somebody brings: the class whose mean is nearest. See MODEL_RECIPES in settings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlmodels.architectures import Architecture, Item, Output
from mlmodels.architectures.base import decode_classes
from mlmodels.datasets import Dataset
from mlmodels.training import Progress, Report, describe
from mlmodels.training.artifact import Trained


class NearestMean(Architecture):
    """(n, n_columns) → (n, n_classes): how near each class's mean is."""

    means: Tensor

    def __init__(self, columns: list[str], classes: list[str]) -> None:
        super().__init__()
        self.columns, self.classes = columns, classes
        self.register_buffer("means", torch.zeros(len(classes), len(columns)))

    def encode(self, items: list[Item]) -> Tensor:
        return torch.tensor([[float(item[name]) for name in self.columns] for item in items])

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(x, self.means)

    def decode(self, y: Tensor) -> list[Output]:
        return decode_classes(self.classes, y)


UNLUCKY = 13
"""With so many epochs the training fails."""
REGISTRY = {"nearest-mean": NearestMean}


def dataset() -> Dataset:
    """Points around (0, 0) are "near", those around (9, 9) are "far"."""
    schema = {
        "slug": "points", "title": "Points", "description": "Near or far.", "task": "classification",
        "recipe": "tests.nearest", "source": "made up",
        "columns": [{"name": name, "title": name, "kind": "number", "minimum": -99, "maximum": 99} for name in "xy"],
        "target": {"name": "place", "title": "Place", "kind": "choice", "values": ["near", "far"]},
    }  # fmt: skip
    rows = [{"x": at % 7 / 7 + 9 * (at % 2), "y": at % 11 / 11 + 9 * (at % 2)} for at in range(60)]
    return Dataset(schema, rows, ["far" if at % 2 else "near" for at in range(60)])


def train(dataset: Dataset, *, seed: int, epochs: int | None, progress: Report) -> Trained:
    """The mean of each class is all there is to learn."""
    if epochs == UNLUCKY:
        raise ValueError("thirteen epochs")
    schema = dataset.schema
    params: dict[str, Any] = {"columns": [column["name"] for column in schema["columns"]], "classes": dataset.classes}
    module = NearestMean(**params).eval()
    x = module.encode(dataset.rows)
    for number, name in enumerate(dataset.classes):
        module.means[number] = x[[target == name for target in dataset.targets]].mean(dim=0)
    progress(Progress(1, epochs or 1, 0.0, 1.0))
    return Trained(
        slug=schema["slug"], title=schema["title"], description=schema["description"], task=schema["task"],
        recipe=schema["recipe"], architecture="nearest-mean", params=params, module=module,
        signature=describe.signature(dataset, examples=[]), golden=dataset.rows[:4], metrics={},
        parameters={"seed": seed}, dataset=describe.dataset(dataset),
    )  # fmt: skip
