"""A picture → a class."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from mlmodels import ink
from mlmodels.architectures.base import Architecture, BadItem, Item, Output, decode_classes


class ImageCNN(Architecture):
    """A picture → a class: a small residual convolutional network.

    preparation "ink" (digits, signs): the picture is reduced to the ink on it, whatever
    its size, place, thickness and polarity (see `ink.prepare`); one channel.
    preparation "photo": the picture is scaled and cropped to a square; `channels` 1 or 3.
    """

    max_batch: ClassVar[int] = 16
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        classes: list[str],
        field: str = "image",
        preparation: str = "ink",
        size: int = 16,
        channels: int = 1,
        widths: list[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if preparation not in ("ink", "photo"):
            raise ValueError(f'The preparation must be "ink" or "photo", not {preparation!r}.')
        self.classes = list(classes)
        self.field = field
        self.preparation = preparation
        self.size = size
        self.channels = 1 if preparation == "ink" else channels
        self.register_buffer("mean", torch.zeros(self.channels, 1, 1))
        self.register_buffer("std", torch.ones(self.channels, 1, 1))
        stages = widths or [24, 48]
        self.stem = nn.Conv2d(self.channels, stages[0], 3, padding=1, bias=False)
        self.stages = nn.Sequential(
            *(
                ResidualBlock(before, width, stride=1 if number == 0 else 2)
                for number, (before, width) in enumerate(zip([stages[0], *stages], stages, strict=False))
            )
        )
        self.norm = nn.BatchNorm2d(stages[-1])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(stages[-1] * 4, len(classes))

    def encode(self, items: list[Item]) -> Tensor:
        """→ (n, channels, size, size) float32 from 0 to 1 (ink: 1 is full ink)."""
        arrays = [self._prepare(index, item[self.field]) for index, item in enumerate(items)]
        return torch.from_numpy(np.stack(arrays))

    def _prepare(self, index: int, picture: Image.Image) -> np.ndarray[Any, Any]:
        if self.preparation == "photo":
            return prepare_photo(picture, self.size, self.channels)
        try:
            return ink.prepare(picture, self.size)[None]
        except ink.NoInk as blank:
            raise BadItem(index, str(blank)) from None

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, size, size) → (n, n_classes) logits."""
        h = self.stem((x - self.mean) / self.std)
        h = functional.relu(self.norm(self.stages(h)))  # (n, widths[-1], s, s)
        # A digit's parts stay where they are: pool to quarters, not to one average.
        h = self.dropout(functional.adaptive_avg_pool2d(h, 2).flatten(1))
        logits: Tensor = self.head(h)
        return logits

    def decode(self, y: Tensor) -> list[Output]:
        """Logits → label and probabilities."""
        return decode_classes(self.classes, y)


class ResidualBlock(nn.Module):
    """Pre-activation residual block; a strided or widening one projects its shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, h, w) → (n, n_out, h / stride, w / stride)."""
        h = self.conv1(functional.relu(self.norm1(x)))
        h = self.conv2(functional.relu(self.norm2(h)))
        out: Tensor = h + self.shortcut(x)
        return out


def prepare_photo(picture: Image.Image, size: int | tuple[int, int], channels: int) -> np.ndarray[Any, Any]:
    """→ (channels, height, width) from 0 to 1: the picture's middle, scaled without aliasing; one size: a square."""
    wanted = picture.convert("RGB" if channels == 3 else "L")
    height, width = (size, size) if isinstance(size, int) else size
    high = max(1, min(wanted.height, wanted.width * height // width))
    wide = max(1, min(wanted.width, wanted.height * width // height))
    left, top = (wanted.width - wide) // 2, (wanted.height - high) // 2
    middle = wanted.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high))
    array = np.asarray(middle, np.float32).reshape(height, width, channels) / 255
    return np.ascontiguousarray(array.transpose(2, 0, 1))
