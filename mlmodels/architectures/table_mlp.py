"""Rows of a table → a class or a number, by an ensemble of small networks."""

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
from mlmodels.architectures.layers import MemberLinear

MAX_DEVIATIONS = 20.0  # a standardised number beyond this tells the network nothing more


class TableMLP(Architecture):
    """Rows of a table → a class or a number: an ensemble of small residual networks.

    columns: [{"name", "kind": "number" | "integer" | "boolean"}, or
    {"name", "kind": "choice", "values": [...]}]; "missing": true adds an indicator for
    an absent value. classes: the labels in order; none for a regression.

    Each member is a linear map plus a perceptron, so that it is never worse off than
    linear on data that is. Standardisation (of features, and of the target for a
    regression) lives in buffers, so that the weights carry it.
    """

    mean: Tensor
    std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        columns: list[dict[str, Any]],
        classes: list[str] | None = None,
        hidden: list[int] | None = None,
        members: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.columns = columns
        self.classes = list(classes or [])
        self.dropout = dropout
        n_features = sum(_width(column) for column in columns)
        n_outputs = len(self.classes) or 1
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("std", torch.ones(n_features, dtype=torch.float64))
        self.register_buffer("target_mean", torch.zeros(1))
        self.register_buffer("target_std", torch.ones(1))
        sizes = [n_features, *(hidden or [32]), n_outputs]
        self.layers = nn.ModuleList(MemberLinear(members, size, following) for size, following in pairwise(sizes))
        self.linear = MemberLinear(members, n_features, n_outputs)
        names = [column["name"] for column in columns]
        plain = all(_width(column) == 1 for column in columns)
        self._row = itemgetter(*names) if plain and len(names) > 1 else self._features

    def encode(self, items: list[Item]) -> Tensor:
        """→ (n, n_features) float64, a choice as one-hot, an absent number as NaN."""
        try:
            return torch.from_numpy(np.array([self._row(item) for item in items], np.float64))
        except KeyError:  # the quick way found an optional value left out
            rows = [self._features(item) for item in items]
            return torch.from_numpy(np.array(rows, np.float64))

    def _features(self, item: Item) -> list[float]:
        features: list[float] = []
        for column in self.columns:
            value = item.get(column["name"])
            if column["kind"] == "choice":
                features.extend(float(value == choice) for choice in column["values"])
            else:
                features.append(math.nan if value is None else float(value))
            if column.get("missing"):
                features.append(float(value is None))
        return features

    def member_outputs(self, x: Tensor) -> Tensor:
        """(n, n_features) → (members, n, n_outputs): logits, or standardised targets."""
        z = ((x.double() - self.mean) / self.std).nan_to_num(0.0, MAX_DEVIATIONS, -MAX_DEVIATIONS)
        h = z.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS).float().expand(self.linear.members, -1, -1)
        straight: Tensor = self.linear(h)
        for layer in self.layers[:-1]:
            h = functional.dropout(functional.silu(layer(h)), self.dropout, self.training)
        bent: Tensor = self.layers[-1](h)
        return straight + bent

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_features) → (n, n_classes) log-probabilities, or (n,) numbers."""
        outputs = self.member_outputs(x)
        if self.classes:
            logs = outputs.double().log_softmax(dim=2)
            return logs.logsumexp(dim=0) - math.log(len(outputs))
        return outputs.mean(dim=0)[:, 0] * self.target_std + self.target_mean

    def decode(self, y: Tensor) -> list[Output]:
        """Log-probabilities → label and probabilities; numbers → value."""
        if self.classes:
            return decode_classes(self.classes, y)
        return [{"value": value} for value in y.tolist()]


def _width(column: dict[str, Any]) -> int:
    """How many features a column becomes."""
    width = len(column["values"]) if column["kind"] == "choice" else 1
    return width + bool(column.get("missing"))
