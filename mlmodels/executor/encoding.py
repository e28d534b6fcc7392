"""Items → the tensors that a program is called with; `program` says which params ask for what."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlmodels.architectures import BadItem, Item, prepare_photo
from mlmodels.signature_rules import is_finite_number, kind_of

Encoder = Callable[[Sequence[Item]], list[Tensor]]
Spec = Mapping[str, Any]

KINDS = {"number": torch.float32, "integer": torch.int64, "boolean": torch.bool, "choice": torch.int64}
DATATYPES = {"BOOL": torch.bool, "UINT8": torch.uint8, "INT8": torch.int8, "INT16": torch.int16, "INT32": torch.int32,
             "INT64": torch.int64, "FP16": torch.float16, "FP32": torch.float32, "FP64": torch.float64,
             "BYTES": torch.int64}  # fmt: skip
MOST_PIXELS = 4096  # per side of what a program may ask for
PICTURE_PARAMS = frozenset(("size", "channels", "scale", "mean", "std"))


def encoder_for(signature: Mapping[str, Any], params: Mapping[str, Any]) -> Encoder:
    """Raises ValueError with a sentence where params and signature do not fit each other."""
    fields = {name: signature["input"]["properties"][name] for name in signature["input"]["x-order"]}
    pictures = [name for name, spec in fields.items() if kind_of(spec) == "image"]
    if "picture" in params:
        if len(fields) != 1 or not pictures:
            raise ValueError("params.picture needs a signature whose only field is a picture.")
        return Picture(pictures[0], params["picture"])
    if pictures:
        raise ValueError(f"The field {pictures[0]} is a picture: params.picture must say how it becomes a tensor.")
    missing = params.get("missing", math.nan)
    if "missing" in params and not is_finite_number(missing):
        raise ValueError(f"params.missing is {missing!r}: expected a number.")
    wanted = params.get("input", "matrix")
    if wanted == "matrix":
        return Matrix(fields, float(missing))
    if wanted == "columns":
        return Columns(fields, signature["tensors"]["inputs"], float(missing))
    raise ValueError(f'params.input is {wanted!r}: expected "matrix" or "columns".')


class Matrix:
    """Every field in one float32 matrix."""

    def __init__(self, fields: Mapping[str, Spec], missing: float) -> None:
        self.fields = [(name, spec["enum"] if kind_of(spec) == "choice" else None) for name, spec in fields.items()]
        self.missing = missing

    def __call__(self, items: Sequence[Item]) -> list[Tensor]:
        rows = np.array([self._row(item) for item in items], np.float32)
        return [torch.from_numpy(rows)]  # (n, width)

    def _row(self, item: Item) -> list[float]:
        row: list[float] = []
        for name, choices in self.fields:
            value = item.get(name)
            if choices is not None:
                row.extend(float(value == choice) for choice in choices)
            else:
                row.append(self.missing if value is None else float(value))
        return row


class Columns:
    """A tensor for each field."""

    def __init__(self, fields: Mapping[str, Spec], tensors: Sequence[Spec], missing: float) -> None:
        declared = {tensor["name"]: tensor for tensor in tensors}
        self.columns = [Column(name, spec, declared.get(name), missing) for name, spec in fields.items()]

    def __call__(self, items: Sequence[Item]) -> list[Tensor]:
        return [column(items) for column in self.columns]


class Column:
    """One field as one tensor: (n, 1), or (n,) where its tensor has one dimension."""

    def __init__(self, name: str, spec: Spec, tensor: Spec | None, missing: float) -> None:
        self.name, self.title = name, spec["title"]
        self.places = {value: place for place, value in enumerate(spec.get("enum", ()))}
        self.missing = -1.0 if self.places else missing
        self.dtype = KINDS[kind_of(spec)] if tensor is None else self._dtype(tensor["datatype"])
        self.is_flat = tensor is not None and len(tensor["shape"]) == 1

    def _dtype(self, datatype: str) -> torch.dtype:
        if datatype not in DATATYPES:
            raise ValueError(f"The tensor {self.name} has the datatype {datatype}, which no program here is given.")
        return DATATYPES[datatype]

    def __call__(self, items: Sequence[Item]) -> Tensor:
        values = [self._value(index, item.get(self.name)) for index, item in enumerate(items)]
        tensor = torch.tensor(values, dtype=torch.float64).to(self.dtype)
        return tensor if self.is_flat else tensor[:, None]

    def _value(self, index: int, value: Any) -> float:
        number = self.missing if value is None else float(self.places.get(value, value))
        if math.isnan(number) and not self.dtype.is_floating_point:
            raise BadItem(index, f"{self.title} is missing, and this model has no value that stands for that.")
        return number


class Picture:
    """One picture as channels of numbers."""

    def __init__(self, field: str, asked: object) -> None:
        if not isinstance(asked, Mapping) or "size" not in asked or not set(asked) <= PICTURE_PARAMS:
            raise ValueError("params.picture must hold size, may hold channels, scale, mean and std, and nothing else.")
        self.field = field
        self.height, self.width = _size(asked["size"])
        self.channels = asked.get("channels", 3)
        if self.channels not in (1, 3):
            raise ValueError(f"params.picture.channels is {self.channels!r}: expected 1 or 3.")
        self.scale = self._numbers(asked, "scale", [255.0], 1)
        self.mean = self._numbers(asked, "mean", [0.0] * self.channels, self.channels)
        self.std = self._numbers(asked, "std", [1.0] * self.channels, self.channels)
        if (self.std == 0).any() or (self.scale == 0).any():
            raise ValueError("params.picture: nothing can be divided by a std or scale of 0.")

    def _numbers(self, asked: Mapping[str, Any], name: str, default: list[float], count: int) -> np.ndarray[Any, Any]:
        """(count, 1, 1), to be spread over a picture's channels."""
        values = asked.get(name, default)
        values = values if isinstance(values, list) else [values]
        if len(values) != count or not all(is_finite_number(value) for value in values):
            raise ValueError(f"params.picture.{name} is {values!r}: expected {count} number{'s' * (count > 1)}.")
        return np.array(values, np.float32).reshape(count, 1, 1)

    def __call__(self, items: Sequence[Item]) -> list[Tensor]:
        arrays = [self._array(index, item.get(self.field)) for index, item in enumerate(items)]
        return [torch.from_numpy(np.stack(arrays))]  # (n, channels, height, width)

    def _array(self, index: int, picture: Any) -> np.ndarray[Any, Any]:
        if picture is None:
            raise BadItem(index, "There is no picture.")
        photo = prepare_photo(picture, (self.height, self.width), self.channels)
        values: np.ndarray[Any, Any] = (photo * 255 / self.scale - self.mean) / self.std
        return values.astype(np.float32)


def _size(asked: object) -> tuple[int, int]:
    sides = asked if isinstance(asked, list) else []
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MOST_PIXELS for side in sides):
        raise ValueError(f"params.picture.size is {asked!r}: expected [height, width], each from 1 to {MOST_PIXELS}.")
    return sides[0], sides[1]
