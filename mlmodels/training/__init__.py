"""Training by recipe: data → module → fit → export.

`train` gives a `Trained` that `export` writes as an artifact. A recipe is one small
module with a function `train(seed, epochs, progress)`; adding one is that file and one
line in RECIPES. Nothing here imports torch until something is trained, so that the
names can be read by a process without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlmodels.training.artifact import Trained

RECIPES = {
    "breast-cancer": "mlmodels.training.breast_cancer",
    "digits": "mlmodels.training.digits",
    "diabetes-progression": "mlmodels.training.diabetes",
}
DEMOS = tuple(RECIPES)


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


def train(recipe: str, *, seed: int = 0, epochs: int | None = None, progress: Report = ignore) -> Trained:
    """Train a demo model from scratch. Raises KeyError for an unknown recipe.

    The same recipe, seed and epochs give the same weights on the same machine.
    `epochs` is the most that one fit takes; None leaves it to the recipe. An exception
    from `progress` ends the training and is passed on.
    """
    module = import_module(RECIPES[recipe])
    trained: Trained = module.train(seed=seed, epochs=epochs, progress=progress)
    return trained


def export(trained: Trained, directory: Path | str) -> Path:
    """Write manifest.json and weights.safetensors into a directory; its path.

    Each file appears whole or not at all, the manifest last.
    """
    artifact = import_module("mlmodels.training.artifact")
    written: Path = artifact.write(trained, Path(directory))
    return written
