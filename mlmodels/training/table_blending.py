"""How much each part of a table model counts, by what each said about rows it was fitted without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mlmodels.training.table_data import Array, losses

STEPS = 20
PART_COST = 0.01  # the share of the loss that one part more must save


def shares(said: Sequence[Array], y: Array, always: int) -> Array:
    """(parts,) shares that sum to 1, on a grid of twentieths: those of the least loss.

    Part number `always` keeps a share, so that what depends on the seed is always in the blend.
    """
    grid = np.array([shares for shares in _grid(len(said), STEPS) if shares[always]]) / STEPS
    found = np.array([losses(mixed(said, share), y).mean() for share in grid])
    best: Array = grid[(found * (1 + PART_COST * (grid > 0).sum(axis=1))).argmin()]
    return best


def mixed(said: Sequence[Array], share: Array) -> Array:
    """What the blend says: the mean of the probabilities, or of the numbers."""
    used = [(part, weight) for part, weight in zip(said, share, strict=True) if weight > 0]
    if said[0].ndim == 1:
        numbers: Array = np.sum([part * weight for part, weight in used], axis=0)
        return numbers
    logs: Array = np.logaddexp.reduce([part + np.log(weight) for part, weight in used])
    return logs


def _grid(parts: int, left: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (left,)
        return
    for first in range(left + 1):
        for rest in _grid(parts - 1, left - first):
            yield first, *rest
