"""The classes of the zoo: each misbehaves in one way. See `tests.zoo` for how to make versions of them."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.zoo_escapes import ATTEMPTS

LABELS = ("low", "high")


class Ok(nn.Module):
    """Answers "high" above zero and "low" below it."""

    max_batch = 16

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self.params = params
        self.linear = nn.Linear(1, 2)

    def encode(self, items: list[dict[str, Any]]) -> Tensor:
        return torch.tensor([[float(item["x"])] for item in items])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        return logits  # (n, 2)

    def decode(self, y: Tensor) -> list[dict[str, Any]]:
        rows = torch.softmax(y.double(), dim=1).tolist()
        return [
            {
                "label": LABELS[int(row[1] > row[0])],
                "probabilities": dict(zip(LABELS, row, strict=False)),
            }
            for row in rows
        ]


class Slow(Ok):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.params.get("seconds", 0.2))
        return super().forward(x)


class Raises(Ok):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("this model always raises\0 with a NUL")


class NotANumber(Ok):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * math.nan


class WrongShape(Ok):
    """One class too many, or with `rows` one row too few."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y[:-1] if self.params.get("rows") else y.new_zeros(len(y), 1)


class HangsInC(Ok):
    """Calls into C++ that take half a minute each and look at no signal."""

    def forward(self, x: Tensor) -> Tensor:
        matrix = torch.rand(3000, 3000)
        while True:
            torch.linalg.svd(matrix)


class HangsInPython(Ok):
    def forward(self, x: Tensor) -> Tensor:
        while True:
            time.sleep(0.01)


class OutOfMemory(Ok):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(1 << 40) + super().forward(x).sum()


class Segfault(Ok):
    def forward(self, x: Tensor) -> Tensor:
        ctypes.string_at(0)
        return super().forward(x)


class SystemExits(Ok):
    def forward(self, x: Tensor) -> Tensor:
        sys.exit(3)


class OsExits(Ok):
    def forward(self, x: Tensor) -> Tensor:
        os._exit(4)


class Leaks(Ok):
    """Keeps `megabytes` more with every run."""

    def forward(self, x: Tensor) -> Tensor:
        kept = self.__dict__.setdefault("kept", [])
        kept.append(torch.ones(self.params.get("megabytes", 64), 1 << 18))
        return super().forward(x)


class Poison(Ok):
    """Honest but for a few values: see `POISONS`."""

    def forward(self, x: Tensor) -> Tensor:
        for value in x[:, 0].tolist():
            if value in POISONS:
                POISONS[value]()
        if bool((x == POISON_NAN).any()):
            return super().forward(x) * math.nan
        return super().forward(x)


class Marker(Ok):
    """Always answers `label`, so that a test can tell which version answered."""

    def decode(self, y: Tensor) -> list[dict[str, Any]]:
        label = self.params.get("label", "high")
        return [{"label": label, "probabilities": {name: float(name == label) for name in LABELS}} for _ in y]


class Large(Ok):
    """Weights of `megabytes`, for tests that look at memory."""

    def __init__(self, megabytes: int = 32, **params: Any) -> None:
        super().__init__(**params)
        self.ballast = nn.Parameter(torch.zeros(megabytes, 1 << 18))


class Random(Ok):
    """Never answers twice the same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(len(x), 2) * 1e-3


class BatchDependent(Ok):
    """Mixes the items of a batch, as batch normalisation left in training mode does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (x.mean() - x) * torch.tensor([1.0, 0.0])


class TwoLayers(Ok):
    def __init__(self, hidden: int = 4, **params: Any) -> None:
        super().__init__(**params)
        self.linear = nn.Linear(1, hidden)
        self.second = nn.Linear(hidden, 2)


class RefusesLarge(Ok):
    """Finds items above 1000 bad, by itself."""

    def encode(self, items: list[dict[str, Any]]) -> Tensor:
        for index, item in enumerate(items):
            if item["x"] > 1000:
                raise BadItem(index, "x is larger than this model understands.")
        return super().encode(items)


class BadItem(Exception):
    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.message = message


class Picture(Ok):
    """Answers "high" for a picture that is bright on average; `x` is its picture field."""

    def encode(self, items: list[dict[str, Any]]) -> Tensor:
        means = []
        for item in items:
            grey = item["x"].convert("L")
            means.append([float(np.asarray(grey).mean()) - 127.5])
        return torch.tensor(means)


def _frame(header: bytes) -> bytes:
    return len(header).to_bytes(4, "big") + bytes(4) + header


LIES = {
    "huge": b"\xff" * 8,
    "garbage": _frame(b"\xff" * 8),
    "no_blobs": _frame(b"{}"),
    "false_blobs": _frame(b'{"blobs":[7]}'),
    "empty": _frame(b'{"blobs":[]}'),
    "twice": _frame(b'{"blobs":[]}') * 2,
    "too_large": _frame(b'{"blobs":[],"x":"' + b"x" * 10_000_000 + b'"}'),
    "nested": _frame(b'{"blobs":[],"outcomes":' + b"[" * 100_000 + b"}"),
    "too_many": _frame(b'{"blobs":[],"previews":[],"outcomes":[{},{}]}'),
    "unknown_label": _frame(
        b'{"blobs":[],"previews":[],"outcomes":[{"output":{"label":"?","probabilities":{"low":0.5,"high":0.5}}}]}'
    ),
    "drops": _frame(b" " * 60_000)[:8],
}


class Liar(Ok):
    """Writes to its parent by itself instead of answering; "drops" goes on byte by byte."""

    def forward(self, x: Tensor) -> Tensor:
        how = self.params["how"]
        parent = socket.socket(fileno=3)
        parent.sendall(LIES[how])
        while True:
            time.sleep(0.02)
            if how == "drops":
                parent.sendall(b" ")


class StopsLater(Ok):
    """Answers, and a moment later neither reads nor writes any more."""

    def forward(self, x: Tensor) -> Tensor:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()
        return super().forward(x)


class Stops(Ok):
    def forward(self, x: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGSTOP)
        return super().forward(x)


class KilledOutside(Ok):
    """Dies as one does whom the kernel's out-of-memory killer takes."""

    def forward(self, x: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class NotJson(Ok):
    def decode(self, y: Tensor) -> list[dict[str, Any]]:
        return [{"label": object()} for _ in y]


class BuildsBadly(Ok):
    def __init__(self, how: str = "well", **params: Any) -> None:
        super().__init__(**params)
        ways: dict[str, Callable[[], object]] = {
            "hang": _loop,
            "die": lambda: ctypes.string_at(0),
            "exhaust": _allocate,
            "well": lambda: None,
        }
        ways[how]()


def _sleep_long() -> None:
    time.sleep(3)


def _loop() -> None:
    while True:
        time.sleep(0.01)


def _raise() -> None:
    raise ValueError("poisoned")


def _allocate() -> None:
    torch.ones(1 << 40)


POISON_SEGV, POISON_RAISE, POISON_HANG, POISON_SLEEP = 666.0, 667.0, 668.0, 669.0
POISON_OOM, POISON_NAN, POISON_EXIT = 670.0, 671.0, 672.0
POISONS: dict[float, Callable[[], object]] = {
    POISON_SEGV: lambda: ctypes.string_at(0),
    POISON_RAISE: _raise,
    POISON_HANG: _loop,
    POISON_SLEEP: _sleep_long,
    POISON_OOM: _allocate,
    POISON_EXIT: lambda: sys.exit(3),
}


class Probe(Ok):
    """Tries what a sandboxed model must not do; says "high" if it worked and "low" if refused.

    `x` is the number of the attempt in ATTEMPTS; params give the paths, port and pid to try.
    """

    def encode(self, items: list[dict[str, Any]]) -> Tensor:
        return torch.tensor([[1.0 if self._works(int(item["x"])) else -1.0] for item in items])

    def _works(self, number: int) -> bool:
        attempt = list(ATTEMPTS.values())[number]
        try:
            return attempt(self.params) is not False
        except (OSError, AttributeError):
            return False
