"""Rows of a table → a class or a number: a linear map, small networks and boosted trees, blended."""

from __future__ import annotations

import math
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlmodels.architectures.base import Architecture, Item, Output, decode_classes
from mlmodels.architectures.features import Features
from mlmodels.architectures.layers import MemberLinear
from mlmodels.architectures.trees import BOUND, Trees

UNSEEN = -1.0  # the code of a choice that is none of the values


class Networks(nn.Module):
    """An ensemble of perceptrons, each beside a linear map, computed together."""

    def __init__(self, n_features: int, n_outputs: int, hidden: list[int], members: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.members = members
        self.dropout = dropout
        sizes = [n_features, *hidden, n_outputs]
        self.layers = nn.ModuleList(MemberLinear(members, size, following) for size, following in pairwise(sizes))
        self.linear = MemberLinear(members, n_features, n_outputs)

    def forward(self, h: Tensor) -> Tensor:
        """(n, n_features) → (members, n, n_outputs)."""
        h = h.expand(self.members, -1, -1)
        straight: Tensor = self.linear(h)
        for layer in self.layers[:-1]:
            h = functional.dropout(functional.silu(layer(h)), self.dropout, self.training)
        bent: Tensor = self.layers[-1](h)
        return straight + bent


class TableBlend(Architecture):
    """The weighted mean of what up to three kinds of model say about a row.

    columns and classes are as in TableMLP. `linear`: whether a linear map is part of it;
    `networks` and `trees`: the parameters of these parts, None for a blend without. The
    weights of the blend, and everything else learnt from data, are in the state dict: also
    the range that a number answered lies in, so that no row far from all others gets a
    number that nobody has ever seen.
    """

    shares: Tensor
    target_mean: Tensor
    target_std: Tensor
    target_range: Tensor

    def __init__(
        self,
        columns: list[dict[str, Any]],
        classes: list[str] | None = None,
        linear: bool = True,
        networks: dict[str, Any] | None = None,
        trees: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.columns = columns
        self.classes = list(classes or [])
        n_outputs = len(self.classes) or 1
        self.features = Features(columns)
        self.linear = nn.Linear(self.features.n_plain, n_outputs) if linear else None
        self.networks = Networks(self.features.n_rich, n_outputs, **networks) if networks else None
        self.trees = Trees(1 if n_outputs == 2 else n_outputs, **trees) if trees else None
        count = sum(part is not None for part in (self.linear, self.networks, self.trees))
        self.register_buffer("shares", torch.full((count,), 1 / count, dtype=torch.float64))
        self.register_buffer("target_mean", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("target_std", torch.ones(1, dtype=torch.float64))
        self.register_buffer("target_range", torch.tensor([-BOUND, BOUND], dtype=torch.float64))
        names = [column["name"] for column in columns]
        self._codes = {
            at: {value: float(code) for code, value in enumerate(column["values"])} | {None: math.nan}
            for at, column in enumerate(columns)
            if column["kind"] == "choice"
        }
        self._cells = itemgetter(*names) if len(names) > 1 else lambda item: (item[names[0]],)

    def encode(self, items: list[Item]) -> Tensor:
        """→ (n, n_columns) float64: a choice as the number of its value, an absent cell as NaN."""
        try:
            rows = [self._cells(item) for item in items]
        except KeyError:  # an optional value is left out
            rows = [tuple(item.get(column["name"]) for column in self.columns) for item in items]
        if not self._codes:
            return torch.from_numpy(np.array(rows, np.float64).reshape(len(items), -1))
        cells = list(zip(*rows, strict=True))
        x = np.empty((len(items), len(cells)), np.float64)
        for at, column in enumerate(cells):
            codes = self._codes.get(at)
            x[:, at] = column if codes is None else [codes.get(cell, UNSEEN) for cell in column]
        return torch.from_numpy(x)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_columns) → (n, n_classes) log-probabilities, or (n,) numbers."""
        said = torch.stack(self.parts(x))
        if self.classes:
            return (said + self.shares.log()[:, None, None]).logsumexp(dim=0)
        numbers = (said * self.shares[:, None]).sum(dim=0) * self.target_std + self.target_mean
        return numbers.clamp(self.target_range[0], self.target_range[1])

    def parts(self, x: Tensor) -> list[Tensor]:
        """What each part says, float64: (n, n_classes) log-probabilities, or (n,) standardised numbers."""
        x = x.double()
        plain, rich = self.features(x)
        said = []
        if self.linear is not None:
            said.append(self.linear(plain)[None])
        if self.networks is not None:
            said.append(self.networks(rich))
        if self.trees is not None:
            said.append(self.trees(x)[None])
        return [self._agreed(outputs.double()) for outputs in said]

    def _agreed(self, outputs: Tensor) -> Tensor:
        """(members, n, n_outputs) of one part → what the part says."""
        if not self.classes:
            return outputs.mean(dim=0)[:, 0]
        if outputs.shape[2] == 1:  # of two classes, trees score only the second
            outputs = functional.pad(outputs, (1, 0))
        return outputs.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(outputs))

    def decode(self, y: Tensor) -> list[Output]:
        """Log-probabilities → label and probabilities; numbers → value."""
        if self.classes:
            return decode_classes(self.classes, y)
        return [{"value": value} for value in y.tolist()]
