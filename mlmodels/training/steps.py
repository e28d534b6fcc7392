"""What every loop over training rows needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def batches(n: int, size: int) -> Iterator[Tensor]:
    """Indices of n rows in random order, `size` at a time."""
    order = torch.randperm(n)
    for start in range(0, n, size):
        yield order[start : start + size]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside.

    Threads of such small networks mostly wait for each other, on a busy machine for
    seconds; and the number of threads decides the last bits of a sum, so that a fixed
    one keeps the same seed giving the same weights.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
