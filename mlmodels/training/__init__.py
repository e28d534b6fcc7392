"""Training by recipe: data → module → fit → export.

`train` gives a `Trained` that `export` writes as an artifact. A recipe is one small
module with a function `train(dataset, *, seed, epochs, progress)` and, where it brings its
own data, `dataset()`. Adding one is that file and one line in RECIPES, or its name
(`package.module`) in the setting MODEL_RECIPES. Nothing here imports torch until something
is trained, so that the names can be read by a process without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlmodels.datasets import Dataset
    from mlmodels.training.artifact import Trained

DEMOS = ("breast-cancer", "digits", "diabetes-progression")
RECIPES = {
    "breast-cancer": "mlmodels.training.breast_cancer",
    "digits": "mlmodels.training.digits",
    "diabetes-progression": "mlmodels.training.diabetes",
    "table": "mlmodels.training.own_table",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One finished epoch: its training loss, and a figure that should rise.

    For tables the accuracy or R² on rows not trained on; for pictures the accuracy on
    the distorted pictures of the epoch, each seen once.
    """

    epoch: int
    epochs: int
    loss: float
    metric: float


Report = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """A progress callback for callers that want none."""


def recipe(name: str) -> ModuleType:
    """The recipe of that name: one of RECIPES, or a module anywhere. Raises KeyError for an unknown one.

    Whoever takes the name from elsewhere has to see that it is one that may be imported.
    """
    return import_module(name if "." in name else RECIPES[name])


def own_data(name: str) -> Dataset:
    """The data that a recipe brings. Raises AttributeError where it brings none."""
    data: Dataset = recipe(name).dataset()
    return data


def train(dataset: Dataset, *, seed: int = 0, epochs: int | None = None, progress: Report = ignore) -> Trained:
    """Train on every row of `dataset`, by the recipe that its schema names.

    What is to be held out must have been taken out before. The same rows, seed and epochs
    give the same weights on the same machine. `epochs` is the most that one fit takes; None
    leaves it to the recipe. An exception from `progress` ends the training and is passed on.
    """
    module = recipe(dataset.schema["recipe"])
    trained: Trained = module.train(dataset, seed=seed, epochs=epochs, progress=progress)
    return trained


def export(trained: Trained, directory: Path | str) -> Path:
    """Write manifest.json and weights.safetensors into a directory; its path.

    Each file appears whole or not at all, the manifest last.
    """
    artifact = import_module("mlmodels.training.artifact")
    written: Path = artifact.write(trained, Path(directory))
    return written
