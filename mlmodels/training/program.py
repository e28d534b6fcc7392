"""Any torch.nn.Module → manifest.json and program.pt2: an artifact that brings its own code.

The README shows it in ten lines. A site takes such an artifact only where its operator allows exported programs.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlmodels import signature as signatures
from mlmodels.architectures import Item
from mlmodels.executor import exported, pictures
from mlmodels.executor.outcomes import EXPORTED_PROGRAM
from mlmodels.executor.program import Program
from mlmodels.signature_rules import kind_of
from mlmodels.training import artifact
from mlmodels.training.program_signature import signature_of_numbers, signature_of_pictures

__all__ = ("export_program", "signature_of_numbers", "signature_of_pictures")

PROGRAM = "program.pt2"
CPU = torch.device("cpu")


def export_program(
    module: nn.Module,
    directory: Path | str,
    *,
    slug: str,
    title: str,
    signature: dict[str, Any],
    params: Mapping[str, Any] | None = None,
    golden: Sequence[dict[str, Any]] = (),
    max_batch: int = 64,
    **more: Any,
) -> Path:
    """Export a copy of `module`, on the CPU and in evaluation mode, and write both files. Returns the directory.

    `params` says how inputs become tensors and answers (the tables of `mlmodels.executor.program`), `golden` lists
    inputs of which the site must get the module's own answers (the signature's examples where left out). max_batch=1
    exports without a free batch dimension. `more` are further fields of the manifest: description, metrics, dataset.
    Raises ValueError where they do not fit each other or the exported program answers otherwise than the module.
    """
    signatures.check(signature)
    module = copy.deepcopy(module).to(CPU).eval()
    program = Program(module, signature, params or {})
    inputs = list(golden) or [example.input for example in signatures.examples(signature)]
    if not inputs:
        raise ValueError("There are neither golden inputs nor examples in the signature: at least one is needed.")
    manifest = {
        "format": artifact.FORMAT,
        "slug": slug,
        "title": title,
        "task": "classification" if program.classes else "regression",
        "architecture": EXPORTED_PROGRAM,
        "params": dict(params or {}),
        "max_batch": max_batch,
        "signature": signature,
        "golden": [{"input": one, "output": _answer(program, signature, one)} for one in inputs],
        "metrics": {},
        "torch": torch.__version__.partition("+")[0],
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    items = [_item(signature, one) for one in inputs]
    data = _exported(module, program.encode(items), max_batch, manifest)
    manifest["files"] = {PROGRAM: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    artifact.write_whole(folder / PROGRAM, data)
    artifact.write_whole(folder / "manifest.json", text.encode())
    return folder


def _item(signature: dict[str, Any], value: dict[str, Any]) -> Item:
    """One input as an executor's child has it: typed, pictures decoded. Raises InvalidInput."""
    item = signatures.validate(signature, value)
    properties = signature["input"]["properties"]
    return {
        name: pictures.decode(base64.b64decode(one.partition(",")[2])) if kind_of(properties[name]) == "image" else one
        for name, one in item.items()
    }


def _answer(program: Program, signature: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    output: dict[str, Any] = program.predict([_item(signature, value)])[0]
    signatures.check_output(signature, output)
    return output


def _exported(module: nn.Module, inputs: list[Tensor], max_batch: int, manifest: dict[str, Any]) -> bytes:
    """The bytes of the exported program, which has been loaded afresh and has given the golden answers."""
    rows, shapes = 1, None
    if max_batch > 1:
        rows = 2  # of one row torch.export would make a constant
        shapes = tuple({0: torch.export.Dim("batch", min=1, max=max_batch)} for _ in inputs)
    example = tuple(tensor[:1].repeat(rows, *[1] * (tensor.dim() - 1)) for tensor in inputs)
    program = torch.export.export(module, example, dynamic_shapes=shapes)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, PROGRAM)
        torch.export.save(program, path)
        _check_reloaded(path, manifest)
        return path.read_bytes()


def _check_reloaded(path: Path, manifest: dict[str, Any]) -> None:
    signature = manifest["signature"]
    try:
        fresh = exported.opened(json.dumps(manifest).encode(), str(path), CPU)
    except exported.Refused as refused:
        raise ValueError(refused.message) from refused
    for entry in manifest["golden"]:
        if not signatures.agrees(_answer(fresh, signature, entry["input"]), entry["output"]):
            raise ValueError("The exported program, loaded afresh, gives another answer than the module.")
