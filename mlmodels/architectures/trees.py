"""Boosted decision trees as tensors: rows → raw scores, all trees of a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGEST = torch.finfo(torch.float64).max  # the threshold of a leaf: no number lies beyond it
BOUND = 1e308  # what a number is clamped to, so that it lies below LARGEST
CHUNK = 64  # rows at a time: what they need stays in the cache


class Trees(nn.Module):
    """`count` trees with `nodes` nodes in all, walked side by side down to `depth`.

    The right child of a node stands behind its left one; a leaf is its own left child and
    nothing lies beyond its threshold. `feature` counts three groups of columns: every
    column with an absent value at the far left, again with it at the far right, then one
    column for each of the `lookups` nodes that split a choice: 1 where its value goes right.
    The trees of one round stand together, one for each of `n_outputs`.
    """

    root: Tensor
    feature: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor
    base: Tensor
    lookup_column: Tensor
    lookup_right: Tensor

    def __init__(self, n_outputs: int, count: int, nodes: int, depth: int, lookups: int = 0, values: int = 0) -> None:
        super().__init__()
        self.depth = depth
        self.lookups = lookups
        self.register_buffer("root", torch.zeros(count, dtype=torch.int32))
        self.register_buffer("feature", torch.zeros(nodes, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(nodes, dtype=torch.float64))
        self.register_buffer("child", torch.zeros(nodes, dtype=torch.int32))
        self.register_buffer("value", torch.zeros(nodes))
        self.register_buffer("base", torch.zeros(n_outputs))
        if lookups:
            self.register_buffer("lookup_column", torch.zeros(lookups, dtype=torch.int64))
            self.register_buffer("lookup_right", torch.zeros(lookups * (values + 1), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_columns) float64, NaN for what is absent → (n, n_outputs) raw scores."""
        known = x.clamp(-BOUND, BOUND)
        columns = [known.nan_to_num(-torch.inf), known.nan_to_num(torch.inf)]
        if self.lookups:
            columns.append(self._looked_up(x))
        v = torch.cat(columns, dim=1)
        return torch.cat([self._walk(chunk) for chunk in torch.split(v, CHUNK)])

    def _walk(self, v: Tensor) -> Tensor:
        """All rows of a chunk down all trees; a place is one row in one tree."""
        rows, width = v.shape
        cells = v.flatten()
        start = torch.arange(0, rows * width, width, dtype=torch.int32, device=v.device)
        start = start.repeat_interleave(len(self.root))
        node = self.root.repeat(rows)
        for _ in range(self.depth):
            cell = self.feature.index_select(0, node).add_(start)
            beyond = cells.index_select(0, cell) > self.threshold.index_select(0, node)
            node = self.child.index_select(0, node).add_(beyond)
        rounds = self.value.index_select(0, node).view(rows, -1, len(self.base))
        return rounds.sum(dim=1) + self.base

    def _looked_up(self, x: Tensor) -> Tensor:
        """(n, lookups): 1 where a choice goes right. An absent value stands last, as does one never seen."""
        width = len(self.lookup_right) // self.lookups
        codes = x[:, self.lookup_column].nan_to_num(-1.0)
        codes = torch.where((codes < 0) | (codes >= width), width - 1, codes).long()
        offsets = torch.arange(0, len(self.lookup_right), width, device=x.device)
        return self.lookup_right[codes + offsets].double()
