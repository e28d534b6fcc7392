"""Rows of a table → a fitted TableBlend, with honest figures beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlmodels.architectures import TableBlend
from mlmodels.training import (
    Progress,
    Report,
    ignore,
    split,
    table_blending,
    table_data,
    table_linear,
    table_networks,
    table_trees,
)
from mlmodels.training.steps import one_thread
from mlmodels.training.table_data import Array, Data, Part, score

ARCHITECTURE = "table-blend"
MARGIN = 0.25  # of the range of targets seen, how far beyond it a prediction may go
PARTS = ("linear", "networks", "trees")
Rows = list[dict[str, Any]]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Table:
    """Inputs that fit the signature, their targets, and what the columns are.

    `target` holds class indices where there are classes, else numbers.
    """

    columns: list[dict[str, Any]]
    rows: Rows
    target: np.ndarray[Any, Any]
    classes: list[str]


@dataclass(frozen=True)
class Settings:
    """How one fit goes; what is None is chosen by the size of the table.

    The rows are in `folds` parts. The first `judged` of them are left out, one after the
    other, to see how long to train and how much each kind of model should count.
    """

    epochs: int | None = None  # the most that the networks take
    patience: int | None = None  # epochs without a better loss
    batch: int | None = None
    lr: float | None = None
    weight_decay: float = 0.02
    hidden: tuple[int, ...] | None = None
    members: int | None = None
    dropout: float | None = None
    folds: int | None = None
    judged: int | None = None
    trees: table_trees.Shape | None = None

    def for_table(self, n_rows: int) -> Settings:
        """With every field filled."""
        sized = next(sized for most, sized in SIZES if n_rows <= most)
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        filled = replace(sized, **{name: value for name, value in chosen.items() if value is not None})
        # A fold that no member leaves out cannot be judged.
        return replace(filled, judged=min(filled.judged or 1, filled.members or 1))

    @property
    def networks(self) -> dict[str, Any]:
        """The parameters of the networks."""
        return {"hidden": list(self.hidden or ()), "members": self.members, "dropout": self.dropout}

    def course(self) -> table_networks.Course:
        """How the networks learn."""
        names = [field.name for field in fields(table_networks.Course)]
        return table_networks.Course(**{name: getattr(self, name) for name in names})


Shape = table_trees.Shape
TINY = Settings(
    epochs=120, patience=15, batch=128, lr=4e-3, hidden=(32,), members=10, dropout=0.1, folds=10, judged=10,
    trees=Shape(rounds=200, step=200, leaves=8, least=10),
)  # fmt: skip
SMALL = replace(TINY, hidden=(64, 64), dropout=0.2)
MIDDLING = replace(SMALL, members=5, dropout=0.15, folds=5, judged=5, trees=Shape())
LARGE = replace(
    MIDDLING, dropout=0.1, epochs=40, patience=8, batch=256, lr=2e-3, hidden=(128, 128), members=4, folds=8, judged=2,
)  # fmt: skip
VERY_LARGE = replace(
    LARGE, epochs=20, patience=5, batch=512, members=2, folds=10, judged=1, trees=Shape(rounds=500)
)  # fmt: skip
HUGE = replace(VERY_LARGE, epochs=10, batch=1024)
SIZES = ((700, TINY), (1500, SMALL), (6000, MIDDLING), (30_000, LARGE), (150_000, VERY_LARGE), (float("inf"), HUGE))


@dataclass(frozen=True)
class Fitted:
    """A module fitted on all rows, and figures on rows that its parts were fitted without."""

    module: TableBlend
    params: dict[str, Any]
    metrics: dict[str, float]
    parameters: dict[str, Any]


def fit(table: Table, settings: Settings, *, seed: int, progress: Report = ignore) -> Fitted:
    """Fit on every row given. The same rows, settings and seed give the same weights on the same machine.

    `progress` is told of every epoch of the networks; before the first one, as epoch 0, how
    the trees of a large table grow.
    """
    settings = settings.for_table(len(table.rows))
    with one_thread():
        empty = TableBlend(table.columns, table.classes)
        data, target = encoded(table, empty, settings)
        parts = fit_parts(data, settings, seed, progress)
        said, y = [part.said for part in parts.values()], data.y.numpy()[data.judged_rows]
        share = table_blending.shares(said, y, always=list(parts).index("networks"))
        kept = {name: part for (name, part), weight in zip(parts.items(), share, strict=True) if weight > 0}
        params = {
            "columns": table.columns,
            "classes": table.classes or None,
            "linear": "linear" in kept,
            **{name: kept[name].params if name in kept else None for name in ("networks", "trees")},
        }
        module = assembled(params, kept, target | {"shares": torch.from_numpy(share[share > 0])}, empty)
    parameters = {"seed": seed, **asdict(settings), "shares": dict(zip(parts, share.tolist(), strict=True))}
    return Fitted(module, params, _figures(data, table_blending.mixed(said, share), y), parameters)


def encoded(table: Table, module: TableBlend, settings: Settings) -> tuple[Data, State]:
    """The rows as the parts take them, and the scale of the target."""
    x = table_data.encode(module, table.rows)
    module.features.learn(x)
    plain, rich = table_data.features(module, x)
    y = torch.from_numpy(table.target)
    target: State = {name: value for name, value in module.state_dict().items() if name.startswith("target_")}
    if not table.classes:
        y, margin = y.double(), (y.max() - y.min()).double() * MARGIN
        target["target_mean"], target["target_std"] = y.mean()[None], y.std(correction=0)[None].clamp(min=1e-12)
        target["target_range"] = torch.stack([y.min() - margin, y.max() + margin])
        y = (y - target["target_mean"]) / target["target_std"]
    fold = table_data.folds([split.row_hash(row) for row in table.rows], settings.folds or 1)
    choices = {at: len(column["values"]) for at, column in enumerate(table.columns) if column["kind"] == "choice"}
    return Data(x, plain, rich, y, len(table.classes), fold, settings.judged or 1, choices), target


def fit_parts(data: Data, settings: Settings, seed: int, progress: Report) -> dict[str, Part]:
    """By its name, what each part has learnt, in the order in which the architecture asks them."""
    epochs = settings.epochs or 1

    def grown(loss: float, metric: float) -> None:
        progress(Progress(0, epochs, loss, metric))

    def learnt(epoch: int, loss: float, metric: float) -> None:
        progress(Progress(epoch, epochs, loss, metric))

    parts = {}
    if data.varied():
        parts["linear"] = table_linear.fit(data)
        parts["trees"] = table_trees.fit(data, settings.trees or Shape(), seed, grown)
    parts["networks"] = table_networks.fit(data, settings.networks, settings.course(), seed, learnt)
    return {name: parts[name] for name in PARTS if name in parts}


def assembled(params: dict[str, Any], parts: dict[str, Part], state: State, empty: TableBlend) -> TableBlend:
    module = TableBlend(**params)
    scales = {f"features.{key}": value for key, value in empty.features.state_dict().items()}
    learnt = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state.items()}
    module.load_state_dict({**scales, **learnt, **state}, strict=True)
    return module.eval()


def _figures(data: Data, said: Array, y: Array) -> dict[str, float]:
    """How good the blend was on the judged rows: the mean over their folds."""
    fold = data.fold.numpy()[data.judged_rows]
    scores = [score(said[fold == number], y[fold == number]) for number in np.unique(fold)]
    name = "accuracy" if data.n_classes else "r2"
    return {f"cv_{name}_mean": round(float(np.mean(scores)), 4), "cv_folds": len(scores)}
