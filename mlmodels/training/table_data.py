"""What the parts of a table model are fitted on: encoded rows, and the folds they are judged on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlmodels.architectures import TableBlend
from mlmodels.training import split

Array = np.ndarray[Any, Any]
CHUNK = 8192
MOST_GROUPS = 5


@dataclass(frozen=True)
class Data:
    """Rows as tensors. `fold[i]` < `judged` says which fit leaves row i out to be judged on it.

    `y` holds class indices, or standardised numbers where `n_classes` is 0.
    """

    x: Tensor  # (n, n_columns) float64
    plain: Tensor  # (n, n_plain) float32
    rich: Tensor  # (n, n_rich) float32
    y: Tensor  # (n,) int64 or float64
    n_classes: int
    fold: Tensor  # (n,) int64
    judged: int
    choices: dict[int, int]  # column → how many values

    def sides(self) -> Iterator[tuple[Array, Array]]:
        """The judged folds in at most five groups: of each, the rows to fit on and those left out."""
        fold, groups = self.fold.numpy(), min(self.judged, MOST_GROUPS)
        group = np.where(fold < self.judged, fold % groups, -1)
        for number in range(groups):
            if (group == number).any():
                yield np.flatnonzero(group != number), np.flatnonzero(group == number)

    def varied(self) -> bool:
        """Whether on every side that is fitted on the targets differ, so that there is something to learn."""
        return all(len(np.unique(self.y.numpy()[inside])) > 1 for inside, _ in self.sides())

    @property
    def judged_rows(self) -> Array:
        """Indices of the rows that some fit leaves out."""
        return np.flatnonzero(self.fold.numpy() < self.judged)


@dataclass(frozen=True)
class Part:
    """One kind of model, fitted: for all rows its parameters and tensors, and what it said of rows left out."""

    params: Any
    state: dict[str, Tensor]
    said: Array  # (judged rows, n_classes) log-probabilities, or (judged rows,) standardised numbers


def encode(module: TableBlend, rows: Sequence[dict[str, Any]]) -> Tensor:
    """All rows as one tensor, a chunk at a time."""
    x = torch.empty(len(rows), len(module.columns), dtype=torch.float64)
    for start in range(0, len(rows), CHUNK):
        x[start : start + CHUNK] = module.encode(list(rows[start : start + CHUNK]))
    return x


@torch.no_grad()
def features(module: TableBlend, x: Tensor) -> tuple[Tensor, Tensor]:
    """The plain and the rich features of all rows, a chunk at a time."""
    pairs = [module.features(chunk) for chunk in torch.split(x, CHUNK)]
    return torch.cat([plain for plain, _ in pairs]), torch.cat([rich for _, rich in pairs])


def folds(hashes: Sequence[str], count: int) -> Tensor:
    """The fold of each row, decided by its content alone."""
    return torch.tensor([split.fold(digest, count) for digest in hashes], dtype=torch.int64)


def losses(said: Array, y: Array) -> Array:
    """(n, n_classes) log-probabilities or (n,) numbers → (n,) log loss or squared error."""
    if said.ndim == 2:
        return -said[np.arange(len(y)), y.astype(np.int64)]
    squared: Array = (said - y) ** 2
    return squared


def score(said: Array, y: Array) -> float:
    """Accuracy, or the share of the variance explained of standardised numbers."""
    if said.ndim == 2:
        return float((said.argmax(axis=1) == y).mean())
    spread = float(((y - y.mean()) ** 2).mean())
    return 1 - float(((said - y) ** 2).mean()) / spread if spread else 0.0
