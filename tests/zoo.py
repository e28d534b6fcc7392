"""Architectures that misbehave on purpose, and some that do not: tests load them like any others.

All answer the same question, a number `x`, with "low" or "high"; "picture" takes a picture instead.
"probe" tries what a sandbox must refuse: its `x` is the number of an attempt in ATTEMPTS.
`artifact` writes a version of one of them; its golden examples are what the honest one answers.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.zoo_escapes import ATTEMPTS, MUST_WORK
from tests.zoo_models import (
    LABELS,
    LIES,
    POISON_EXIT,
    POISON_HANG,
    POISON_NAN,
    POISON_OOM,
    POISON_RAISE,
    POISON_SEGV,
    POISON_SLEEP,
    BatchDependent,
    BuildsBadly,
    HangsInC,
    HangsInPython,
    KilledOutside,
    Large,
    Leaks,
    Liar,
    Marker,
    NotANumber,
    NotJson,
    Ok,
    OsExits,
    OutOfMemory,
    Picture,
    Poison,
    Probe,
    Raises,
    Random,
    RefusesLarge,
    Segfault,
    Slow,
    Stops,
    StopsLater,
    SystemExits,
    TwoLayers,
    WrongShape,
)

GOLDEN_INPUTS = (-2.0, -0.5, 0.25, 3.0)
GOLDEN_GREYS = (120, 128, 135)

__all__ = (
    "ATTEMPTS",
    "LABELS",
    "LIES",
    "MUST_WORK",
    "POISON_EXIT",
    "POISON_HANG",
    "POISON_NAN",
    "POISON_OOM",
    "POISON_RAISE",
    "POISON_SEGV",
    "POISON_SLEEP",
    "REGISTRY",
    "artifact",
    "expected",
    "grey_picture",
    "manifest",
    "signature",
    "weights",
)

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
    "large": Large,
    "random": Random,
    "batch_dependent": BatchDependent,
    "two_layers": TwoLayers,
    "refuses_large": RefusesLarge,
    "picture": Picture,
    "liar": Liar,
    "stops_later": StopsLater,
    "hang_stopped": Stops,
    "killed": KilledOutside,
    "not_json": NotJson,
    "builds_badly": BuildsBadly,
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
                    "properties": dict.fromkeys(LABELS, probability),
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


def grey_picture(level: int) -> str:
    """A picture of one grey, as a manifest holds it."""
    file = io.BytesIO()
    Image.new("L", (8, 8), level).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


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
    if architecture == "picture":
        golden = [{"input": {"x": grey_picture(level)}, "output": expected(level - 127.5)} for level in GOLDEN_GREYS]
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
