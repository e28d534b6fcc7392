"""The modules that a version's weights are loaded into, and how items become tensors.

A version names its architecture and parameters in the manifest; the weights are data.
To add one: write a subclass of `Architecture`, and one line in REGISTRY.
"""

from __future__ import annotations

import math
from itertools import pairwise
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from mlmodels import ink

Item = dict[str, Any]
Output = dict[str, Any]

MAX_DEVIATIONS = 20.0  # a standardised number beyond this tells the network nothing more


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


REGISTRY: dict[str, type[Architecture]] = {
    "table-mlp": TableMLP,
    "image-cnn": ImageCNN,
}
