"""Rows of a table → a fitted TableMLP, with an honest figure beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlmodels.architectures import TableMLP
from mlmodels.training import Progress, Report, ignore, metrics, split
from mlmodels.training.steps import batches, one_thread

ARCHITECTURE = "table-mlp"
FOLDS = 5
Rows = list[dict[str, Any]]


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
    """How one fit goes. The best epoch of each member is kept, judged on its own rows."""

    epochs: int = 120
    patience: int = 15
    batch: int = 128
    lr: float = 4e-3
    weight_decay: float = 0.02
    hidden: tuple[int, ...] = (32,)
    members: int = 5
    dropout: float = 0.1

    def params(self, table: Table) -> dict[str, Any]:
        """The parameters of the architecture."""
        return {
            "columns": table.columns,
            "classes": table.classes or None,
            "hidden": list(self.hidden),
            "members": self.members,
            "dropout": self.dropout,
        }


@dataclass(frozen=True)
class Fitted:
    """A module fitted on all rows, and what is known of it without any others."""

    module: TableMLP
    params: dict[str, Any]
    metrics: dict[str, float]
    parameters: dict[str, Any]


def fit(table: Table, settings: Settings, *, seed: int, progress: Report = ignore) -> Fitted:
    """Fit on every row given; the figures are the mean over five folds of them, each fitted afresh."""
    hashes = [split.row_hash(row) for row in table.rows]
    name = "accuracy" if table.classes else "r2"
    with one_thread():
        module = _fit(table, range(len(table.rows)), hashes, settings, seed, progress)
        figures = {f"cv_{name}_mean": cross_validate(table, hashes, settings, seed, name), "cv_folds": FOLDS}
    return Fitted(module, settings.params(table), figures, {"seed": seed, **asdict(settings)})


def cross_validate(table: Table, hashes: Sequence[str], settings: Settings, seed: int, name: str) -> float:
    """The mean figure over five folds of the rows, duplicates in one fold."""
    folds = [split.fold(digest, FOLDS) for digest in hashes]
    scores = []
    for number in range(FOLDS):
        inside = [index for index, fold in enumerate(folds) if fold != number]
        outside = [index for index, fold in enumerate(folds) if fold == number]
        module = _fit(table, inside, hashes, settings, seed + 1 + number, ignore)
        scores.append(judge(module, table, outside)[name])
    return round(float(np.mean(scores)), 4)


def judge(module: TableMLP, table: Table, indices: Sequence[int]) -> dict[str, float]:
    """Figures of a module on some rows."""
    with torch.inference_mode():
        y = module(module.encode([table.rows[index] for index in indices])).numpy()
    target = table.target[list(indices)]
    if table.classes:
        return metrics.of_classes(np.exp(y), target)
    return metrics.of_numbers(y.astype(np.float64), target)


def _fit(
    table: Table,
    indices: Sequence[int],
    hashes: Sequence[str],
    settings: Settings,
    seed: int,
    progress: Report,
) -> TableMLP:
    """One module on some rows. Each member leaves out its own share, to stop early by."""
    torch.manual_seed(seed)
    module = TableMLP(**settings.params(table))
    x = module.encode([table.rows[index] for index in indices])  # (n, n_features)
    y = torch.from_numpy(table.target[list(indices)])
    _standardise(module, x, y)
    member = torch.arange(settings.members)[:, None]
    own = torch.tensor([int(hashes[index][32:48], 16) % settings.members for index in indices])
    judged = (own[None] == member).float()  # (members, n): 1 where a member is judged
    if settings.members == 1:
        judged = (own[None] == 0).float()
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    best = torch.full((settings.members,), torch.inf)
    best_weights = {name: value.detach().clone() for name, value in module.named_parameters()}
    since = 0
    for epoch in range(settings.epochs):
        loss = _epoch(module, optimizer, x, y, 1 - judged, settings.batch)
        now, score = _judge_members(module, x, y, judged)
        better = now < best
        best = torch.where(better, now, best)
        with torch.no_grad():
            for name, value in module.named_parameters():
                best_weights[name][better] = value[better]
        progress(Progress(epoch + 1, settings.epochs, loss, score))
        since = 0 if better.any() else since + 1
        if since >= settings.patience:
            break
    module.load_state_dict(best_weights, strict=False)  # the buffers are as they were
    return module.eval()


def _standardise(module: TableMLP, x: Tensor, y: Tensor) -> None:
    """Put the mean and deviation of features and target into the module's buffers."""
    known = ~x.isnan()
    count = known.sum(0).clamp(min=1)
    mean = x.nan_to_num(0).sum(0) / count
    std = (torch.where(known, x - mean, 0.0).square().sum(0) / count).sqrt()
    module.mean.copy_(mean)
    module.std.copy_(torch.where(std > 1e-12 * (1 + mean.abs()), std, 1.0))
    if not module.classes:
        module.target_mean.copy_(y.mean())
        module.target_std.copy_(y.std().clamp(min=1e-12))


def _epoch(
    module: TableMLP,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    batch: int,
) -> float:
    """One pass over the rows in random order; the mean loss."""
    module.train()
    total = 0.0
    for chosen in batches(len(x), batch):
        losses = _losses(module, x[chosen], y[chosen]) * weights[:, chosen]
        loss = losses.sum() / weights[:, chosen].sum().clamp(min=1)
        optimizer.zero_grad()
        # Members share nothing: summed over them, each steps as if it were alone.
        (loss * len(weights)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach()) * len(chosen)
    return total / len(x)


def _losses(module: TableMLP, x: Tensor, y: Tensor) -> Tensor:
    """(members, n): cross entropy, or the squared error of the standardised target."""
    outputs = module.member_outputs(x)  # (members, n, n_outputs)
    if module.classes:
        each = y.expand(len(outputs), -1)
        return functional.cross_entropy(outputs.flatten(0, 1), each.flatten(), reduction="none").view(each.shape)
    scaled = ((y - module.target_mean) / module.target_std).float()
    return (outputs[:, :, 0] - scaled).square()


@torch.no_grad()
def _judge_members(module: TableMLP, x: Tensor, y: Tensor, judged: Tensor) -> tuple[Tensor, float]:
    """(members,) loss of each on the rows it left out; and accuracy or R² over them all."""
    module.eval()
    losses = _losses(module, x, y) * judged
    outputs = module.member_outputs(x)
    if module.classes:
        right = (outputs.argmax(dim=2) == y).float() * judged
        score = float(right.sum() / judged.sum())
    else:
        score = 1 - float(losses.sum() / judged.sum())
    return losses.sum(dim=1) / judged.sum(dim=1).clamp(min=1), score
