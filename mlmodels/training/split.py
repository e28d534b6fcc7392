"""Which rows are held out: decided by the row alone, before any training.

The hash of a row's input decides, so that a row is on the same side in every later
snapshot of the data, and duplicates are never on both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlmodels.datasets import labelled_digest, row_hash

__all__ = ("HELD_OUT_SHARE", "Split", "by_hash", "fold", "fraction", "labelled_digest", "of_hashes", "row_hash")

HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Indices of the rows to train on and of those held out, and the hash of each row."""

    train: list[int]
    held_out: list[int]
    hashes: list[str]

    def digest(self, indices: Sequence[int]) -> str:
        """One sha256 for a set of rows, whatever their order."""
        return hashlib.sha256("".join(sorted(self.hashes[i] for i in indices)).encode()).hexdigest()


def by_hash(rows: Sequence[Mapping[str, Any]], share: float = HELD_OUT_SHARE) -> Split:
    """Hold out about `share` of the rows."""
    return of_hashes([row_hash(row) for row in rows], share)


def of_hashes(hashes: list[str], share: float = HELD_OUT_SHARE) -> Split:
    """The same for rows whose hashes are known."""
    held = [fraction(digest) < share for digest in hashes]
    return Split(
        train=[index for index, out in enumerate(held) if not out],
        held_out=[index for index, out in enumerate(held) if out],
        hashes=hashes,
    )


def fold(digest: str, folds: int) -> int:
    """The fold of a row, independent of whether it is held out."""
    return int(digest[16:32], 16) % folds


def fraction(digest: str) -> float:
    """A number from 0 to 1 that a hash stands for."""
    return int(digest[:16], 16) / 2**64
