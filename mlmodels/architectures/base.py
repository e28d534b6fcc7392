"""What every architecture is: how items become tensors, and tensors outputs."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Item = dict[str, Any]
Output = dict[str, Any]


class BadItem(ValueError):
    """One item that cannot be encoded; the others of the batch are not to blame."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.message = message


class Architecture(nn.Module):
    """encode → forward → decode. n items give n outputs, in order, each on its own.

    In evaluation mode an item's output does not depend on the others of its batch
    (beyond the last bits of float arithmetic), and nothing in it is random.
    """

    max_batch: ClassVar[int] = 128

    def encode(self, items: list[Item]) -> Tensor:
        """Items that fit the signature → one tensor whose first dimension is len(items).

        Pictures arrive as PIL images in mode "L" or "RGB". Raises BadItem.
        """
        raise NotImplementedError

    def decode(self, y: Tensor) -> list[Output]:
        """What forward returned → one output object per item, as the signature says."""
        raise NotImplementedError

    @torch.inference_mode()
    def predict(self, items: list[Item]) -> list[Output]:
        """The three steps at once."""
        return self.decode(self(self.encode(items)))


def decode_classes(classes: list[str], log_probabilities: Tensor) -> list[Output]:
    """(n, n_classes) logits or log-probabilities → label and every probability."""
    probabilities = log_probabilities.double().softmax(dim=1)
    best = probabilities.argmax(dim=1).tolist()
    return [
        {"label": classes[index], "probabilities": dict(zip(classes, row, strict=True))}
        for index, row in zip(best, probabilities.tolist(), strict=True)
    ]
