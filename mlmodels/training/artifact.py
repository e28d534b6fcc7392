"""A trained module → manifest.json and weights.safetensors in a directory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from mlmodels import signature as signatures
from mlmodels.architectures import Architecture, Item
from mlmodels.training.commit import code_commit

FORMAT = 1


@dataclass(frozen=True)
class Trained:
    """A module and all that its manifest says about it, except what export adds."""

    slug: str
    title: str
    description: str
    task: str
    recipe: str
    architecture: str
    params: dict[str, Any]
    module: Architecture
    signature: dict[str, Any]
    golden: list[dict[str, Any]]  # inputs; export adds what the module answers to each
    metrics: dict[str, float]
    parameters: dict[str, Any]
    dataset: dict[str, Any]
    decode_input: Callable[[dict[str, Any]], Item] = dict  # turns pictures into images

    def weights(self) -> bytes:
        """The weights as a safetensors file; the same weights give the same bytes."""
        tensors: dict[str, Tensor] = {
            name: value.detach().contiguous() for name, value in self.module.state_dict().items()
        }
        return save(tensors)


def write(trained: Trained, directory: Path) -> Path:
    """Write both files, each whole or not at all, the manifest last. Returns the directory.

    Raises ValueError when the weights, loaded afresh, do not answer the golden inputs
    as the module in memory does, or when the signature is not one that may be served.
    """
    weights = trained.weights()
    manifest = _manifest(trained, weights)
    signatures.check(manifest["signature"])
    _check_reloaded(trained, weights, manifest["golden"])
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_whole(directory / "weights.safetensors", weights)
        write_whole(directory / "manifest.json", text.encode())
    except BaseException:
        (directory / "weights.safetensors").unlink(missing_ok=True)
        raise
    return directory


def _manifest(trained: Trained, weights: bytes) -> dict[str, Any]:
    outputs = [_answer(trained, trained.module, golden) for golden in trained.golden]
    return {
        "format": FORMAT,
        "slug": trained.slug,
        "title": trained.title,
        "description": trained.description,
        "task": trained.task,
        "recipe": trained.recipe,
        "architecture": trained.architecture,
        "params": trained.params,
        "max_batch": trained.module.max_batch,
        "signature": trained.signature,
        "files": {
            "weights.safetensors": {
                "sha256": hashlib.sha256(weights).hexdigest(),
                "size": len(weights),
            }
        },
        "golden": [{"input": golden, "output": output} for golden, output in zip(trained.golden, outputs, strict=True)],
        "metrics": trained.metrics,
        "parameters": trained.parameters,
        "dataset": trained.dataset,
        "code_commit": code_commit(),
        "torch": torch.__version__.partition("+")[0],
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _answer(trained: Trained, module: Architecture, golden: dict[str, Any]) -> dict[str, Any]:
    """What a module answers to one input, checked against the signature."""
    typed = signatures.validate(trained.signature, golden)
    output = module.predict([trained.decode_input(typed)])[0]
    signatures.check_output(trained.signature, output)
    return output


def _check_reloaded(trained: Trained, weights: bytes, golden: list[dict[str, Any]]) -> None:
    fresh = type(trained.module)(**json.loads(json.dumps(trained.params)))
    fresh.load_state_dict(load(weights), strict=True)
    fresh.eval()
    for entry in golden:
        if not signatures.agrees(_answer(trained, fresh, entry["input"]), entry["output"]):
            raise ValueError("The weights, loaded afresh, give another answer than the module.")


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file, to the disk, then rename."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
