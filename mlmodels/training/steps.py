"""What every loop over training rows needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn


def batches(n: int, size: int) -> Iterator[Tensor]:
    """Indices of n rows in random order, `size` at a time."""
    order = torch.randperm(n)
    for start in range(0, n, size):
        yield order[start : start + size]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside, in torch and in whatever else does.

    Threads of small models mostly wait for each other, on a busy machine for minutes; and
    the number of threads decides the last bits of a sum, so that a fixed one keeps the
    same seed giving the same weights.
    """
    before = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class AdamW:
    """Adam with decoupled weight decay, over all parameters of a module as one vector.

    torch's own costs seconds of a training of seconds: it imports the compiler.
    """

    def __init__(self, module: nn.Module, weight_decay: float) -> None:
        parameters = list(module.parameters())
        self.values = torch.cat([value.detach().flatten() for value in parameters])
        self.gradients = torch.zeros_like(self.values)
        self.mean, self.square = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.weight_decay, self.steps = weight_decay, 0
        sizes = [value.numel() for value in parameters]
        for value, own, slope in zip(
            parameters, torch.split(self.values, sizes), torch.split(self.gradients, sizes), strict=True
        ):
            value.data, value.grad = own.view_as(value), slope.view_as(value)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step down the gradients, which are zero afterwards."""
        self.steps += 1
        self.mean.lerp_(self.gradients, 1 - 0.9)
        self.square.mul_(0.999).addcmul_(self.gradients, self.gradients, value=1 - 0.999)
        scale = self.square.div(1 - 0.999**self.steps).sqrt_().add_(1e-8)
        self.values.mul_(1 - rate * self.weight_decay)
        self.values.addcdiv_(self.mean, scale, value=-rate / (1 - 0.9**self.steps))
        self.gradients.zero_()
