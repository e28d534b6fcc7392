"""Columns of a table → what linear maps and networks take: standardised, ranked, one-hot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MAX_DEVIATIONS = 20.0  # a standardised number beyond this tells a model nothing more
KNOTS = 33


class Features(nn.Module):
    """`plain`: numbers standardised, choices one-hot, what is absent marked. `rich`: the ranks of numbers beside it.

    A rank is where a number lies among those trained on, from -√3 to √3, by interpolation
    between `knots`, so that outliers and skew do not matter. Everything learnt from data
    lies in buffers.
    """

    mean: Tensor
    std: Tensor
    knots: Tensor
    number_columns: Tensor
    choice_columns: Tensor
    marked_columns: Tensor
    slot_start: Tensor
    slot_count: Tensor

    def __init__(self, columns: list[dict[str, Any]]) -> None:
        super().__init__()
        choices = [at for at, column in enumerate(columns) if column["kind"] == "choice"]
        numbers = [at for at, column in enumerate(columns) if column["kind"] != "choice"]
        sizes = [len(columns[at]["values"]) for at in choices]
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        marked = [at for at, column in enumerate(columns) if column.get("missing")]
        self.n_slots = sum(sizes)
        self.n_plain = len(numbers) + len(marked) + self.n_slots
        self.n_rich = self.n_plain + len(numbers)
        for name, indices in (
            ("number_columns", numbers),
            ("choice_columns", choices),
            ("marked_columns", marked),
            ("slot_start", starts),
            ("slot_count", sizes),
        ):
            self.register_buffer(name, torch.tensor(indices, dtype=torch.int64), persistent=False)
        self.register_buffer("mean", torch.zeros(len(numbers), dtype=torch.float64))
        self.register_buffer("std", torch.ones(len(numbers), dtype=torch.float64))
        self.register_buffer("knots", torch.linspace(-1, 1, KNOTS, dtype=torch.float64).repeat(len(numbers), 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, n_columns) float64 → (n, n_plain) and (n, n_rich) float32."""
        numbers = x[:, self.number_columns] if len(self.choice_columns) else x
        z = ((numbers - self.mean) / self.std).nan_to_num(0.0, MAX_DEVIATIONS, -MAX_DEVIATIONS)
        parts = [z.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS).float()]
        if len(self.marked_columns):
            parts.append(x[:, self.marked_columns].isnan().float())
        if self.n_slots:
            parts.append(self._one_hot(x))
        plain = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return plain, torch.cat([plain, self._ranks(numbers)], dim=1)

    def _one_hot(self, x: Tensor) -> Tensor:
        """A value that is absent, or was never seen, lights nothing."""
        codes = x[:, self.choice_columns].nan_to_num(-1.0)
        known = (codes >= 0) & (codes < self.slot_count)
        slots = torch.where(known, codes, 0.0).long() + self.slot_start
        return torch.zeros(len(x), self.n_slots, device=x.device).scatter_add_(1, slots, known.float())

    def _ranks(self, numbers: Tensor) -> Tensor:
        """(n, numbers) → the same shape; an absent number lies in the middle."""
        v = numbers.T.contiguous()
        high = torch.searchsorted(self.knots, v, right=True).clamp(1, KNOTS - 1)
        left, right = self.knots.gather(1, high - 1), self.knots.gather(1, high)
        part = ((v - left) / (right - left)).nan_to_num(0.0).clamp(0, 1)
        scaled = ((high - 1 + part) / (KNOTS - 1) - 0.5) * 12**0.5
        return torch.where(v.isnan(), 0.0, scaled).T.float()

    @torch.no_grad()
    def learn(self, x: Tensor) -> None:
        """Put means, deviations and quantiles of the numbers into the buffers."""
        for place, column in enumerate(self.number_columns.tolist()):
            known = x[:, column]
            known = known[~known.isnan()]
            if not len(known):
                continue
            scale = known.abs().max().clamp(min=1e-300)  # squares of the largest numbers overflow
            mean, std = (known / scale).mean() * scale, (known / scale).std(correction=0) * scale
            self.mean[place] = mean
            self.std[place] = std if std > 1e-12 * (1 + mean.abs()) else 1.0
            at = torch.linspace(0, len(known) - 1, KNOTS, dtype=torch.float64)
            ordered = known.sort().values
            low, part = at.long(), at.frac()
            high = (low + 1).clamp(max=len(known) - 1)
            self.knots[place] = ordered[low] + (ordered[high] - ordered[low]) * part
