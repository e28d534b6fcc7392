"""Architectures that misbehave on purpose, and one that does not: tests load them like any other.

All answer the same question, a number `x`, with "low" or "high"; only Probe differs. `artifact`
writes a version of one of them whose golden examples are what the honest one would answer.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

LABELS = ("low", "high")
GOLDEN_INPUTS = (-2.0, -0.5, 0.25, 3.0)


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
    """One call into C++ that takes minutes and looks at no signal."""

    def forward(self, x: Tensor) -> Tensor:
        torch.linalg.svd(torch.rand(6000, 6000))
        return super().forward(x)


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


class Random(Ok):
    """Never answers twice the same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(1) * 1e-3


class TwoLayers(Ok):
    def __init__(self, hidden: int = 4, **params: Any) -> None:
        super().__init__(**params)
        self.linear = nn.Linear(1, hidden)  # type: ignore[assignment]
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
            means.append([sum(grey.getdata()) / (grey.width * grey.height) - 127.5])
        return torch.tensor(means)


class Liar(Ok):
    """Writes to its parent by itself instead of answering: a huge claim, garbage, or drops."""

    def forward(self, x: Tensor) -> Tensor:
        how = self.params["how"]
        parent = socket.socket(fileno=3)
        if how == "huge":
            parent.sendall(b"\xff" * 8)
        elif how == "garbage":
            parent.sendall((8).to_bytes(4, "big") + (0).to_bytes(4, "big") + b"\xff" * 8)
        elif how == "twice":
            parent.sendall(b'\0\0\0\x0c\0\0\0\0{"blobs":[]}' * 2)
        elif how == "empty":
            parent.sendall(b'\0\0\0\x0c\0\0\0\0{"blobs":[]}')
        while True:
            parent.sendall(b" ") if how == "drops" else None
            time.sleep(0.05)


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


def _fork(params: Mapping[str, Any]) -> None:
    if os.fork() == 0:
        os._exit(0)


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _connect_unix(params: Mapping[str, Any]) -> None:
    socket.socket(socket.AF_UNIX).connect(params["unix_socket"])


def _connect_tcp(params: Mapping[str, Any]) -> None:
    socket.create_connection(("127.0.0.1", params["port"]), 1)


def _libc(number: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _signal_through_socket(params: Mapping[str, Any]) -> None:
    import fcntl

    fcntl.fcntl(3, fcntl.F_SETOWN, params["pid"])


def _steal_limits(params: Mapping[str, Any]) -> None:
    import resource

    resource.prlimit(params["pid"], resource.RLIMIT_CORE, (0, 0))


def _escape_death(params: Mapping[str, Any]) -> None:
    if ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) < 0:
        raise OSError("refused")


ATTEMPTS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "own source": lambda p: bool(_read(p["source"])),
    "own weights": lambda p: bool(_read(p["weights"])),
    "network": _connect_tcp,
    "udp socket": lambda p: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix socket": _connect_unix,
    "socket pair": lambda p: socket.socketpair(),
    "environment of the parent": lambda p: _read(f"/proc/{p['pid']}/environ"),
    "memory of the parent": lambda p: _read(f"/proc/{p['pid']}/maps"),
    "environment of the server": lambda p: _read(f"/proc/{os.getppid()}/environ"),
    "database": lambda p: _read(p["database"]),
    "another upload": lambda p: _read(p["upload"]),
    "list uploads": lambda p: os.listdir(os.path.dirname(p["upload"])),
    "accounts of the host": lambda p: _read("/etc/passwd"),
    "write a new file": lambda p: Path(p["upload"] + ".new").write_text("x"),
    "write its weights": lambda p: Path(p["weights"]).open("r+b"),
    "delete a file": lambda p: os.unlink(p["upload"]),
    "rename a file": lambda p: os.rename(p["upload"], p["upload"] + ".moved"),
    "change a mode": lambda p: os.chmod(p["upload"], 0o777),
    "shared memory": lambda p: Path("/dev/shm/zoo-probe").write_text("x"),
    "exec": lambda p: os.execv("/bin/true", ["true"]),
    "fork": _fork,
    "signal the parent": lambda p: os.kill(p["pid"], 0),
    "signal the server": lambda p: os.kill(os.getppid(), signal.SIGTERM),
    "signal through the socket": _signal_through_socket,
    "limits of the parent": _steal_limits,
    "priority of the parent": lambda p: os.setpriority(os.PRIO_PROCESS, p["pid"], 10),
    "outlive the server": _escape_death,
    "trace the parent": lambda p: _libc({"x86_64": 101}.get(os.uname().machine, 117), 16, p["pid"]),
    "io_uring": lambda p: _libc(425, 1, 0),
    "secret in the environment": lambda p: "ZOO_SECRET" in os.environ,
    "open descriptors": lambda p: any(_is_open(number) for number in range(4, 64)),
    "django": lambda p: "django" in sys.modules,
}  # fmt: skip
MUST_WORK = ("own source", "own weights")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


REGISTRY: dict[str, type[nn.Module]] = {
    "ok": Ok,
    "slow": Slow,
    "raises": Raises,
    "nan": NotANumber,
    "wrong_shape": WrongShape,
    "hang_cpp": HangsInC,
    "hang_python": HangsInPython,
    "oom": OutOfMemory,
    "segv": Segfault,
    "sys_exit": SystemExits,
    "os_exit": OsExits,
    "leak": Leaks,
    "poison": Poison,
    "marker": Marker,
    "random": Random,
    "two_layers": TwoLayers,
    "refuses_large": RefusesLarge,
    "picture": Picture,
    "liar": Liar,
    "probe": Probe,
}


def signature(architecture: str = "ok") -> dict[str, Any]:
    number = {"type": "number", "title": "X", "minimum": -1e6, "maximum": 1e6,
              "x-typical": [-3.0, 3.0], "examples": [1.0]}  # fmt: skip
    picture = {"type": "string", "format": "image", "contentMediaType": "image/png", "title": "X"}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "input": {
            "type": "object", "additionalProperties": False, "required": ["x"], "x-order": ["x"],
            "properties": {"x": picture if architecture == "picture" else number},
        },
        "output": {
            "type": "object", "additionalProperties": False,
            "required": ["label", "probabilities"],
            "properties": {
                "label": {"type": "string", "title": "Level", "enum": list(LABELS)},
                "probabilities": {
                    "type": "object", "required": list(LABELS),
                    "properties": {name: probability for name in LABELS},
                },
            },
        },
        "tensors": {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
        },
    }  # fmt: skip


def expected(x: float) -> dict[str, Any]:
    """What the honest architecture answers with the weights that `artifact` writes."""
    high = 1 / (1 + math.exp(-2 * x))
    return {"label": LABELS[int(x > 0)], "probabilities": {"low": 1 - high, "high": high}}


def weights(module: nn.Module) -> dict[str, Tensor]:
    """For the one linear layer -x and x; zeros for anything else."""
    state = {name: torch.zeros_like(tensor) for name, tensor in module.state_dict().items()}
    if state["linear.weight"].shape == (2, 1):
        state["linear.weight"] = torch.tensor([[-1.0], [1.0]])
    return state


def artifact(directory: str | Path, architecture: str, /, **params: Any) -> tuple[str, str]:
    """Write manifest.json and weights.safetensors into `directory`; return both paths."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    weights_path, manifest_path = folder / "weights.safetensors", folder / "manifest.json"
    save_file(weights(REGISTRY[architecture](**params)), weights_path)
    data = weights_path.read_bytes()
    manifest_path.write_text(json.dumps(manifest(architecture, params, data), indent=1))
    return str(manifest_path), str(weights_path)


def manifest(architecture: str, params: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    golden = [{"input": {"x": x}, "output": expected(x)} for x in GOLDEN_INPUTS]
    return {
        "format": 1,
        "slug": f"zoo-{architecture.replace('_', '-')}",
        "title": f"Zoo: {architecture}",
        "description": "A model for tests.",
        "task": "classification",
        "architecture": architecture,
        "params": dict(params),
        "max_batch": 16,
        "signature": signature(architecture),
        "files": {
            "weights.safetensors": {
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": len(data),
            }
        },
        "golden": golden,
        "metrics": {"accuracy": 1.0, "balanced_accuracy": 1.0, "log_loss": 0.1, "rows": 4},
        "parameters": {"epochs": 1, "seed": 0, "lr": 0.1},
        "dataset": {"name": "zoo", "title": "Zoo", "source": "tests", "rows": 4,
                    "sha256": "0" * 64, "holdout_rows": 4, "holdout_sha256": "0" * 64},
        "code_commit": "0" * 40,
        "torch": torch.__version__.split("+")[0],
        "trained_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
