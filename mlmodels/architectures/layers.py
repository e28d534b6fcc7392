"""Layers that several architectures have in common."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MemberLinear(nn.Module):
    """One linear layer per ensemble member, computed together."""

    def __init__(self, members: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.members = members
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(members, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, n_out))

    def forward(self, x: Tensor) -> Tensor:
        """(members, n, n_in) → (members, n, n_out)."""
        return torch.baddbmm(self.bias, x, self.weight)
