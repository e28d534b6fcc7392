"""A tiny table with an answer that is known, and versions of the zoo that know it more or less well.

A row is a number `x`; what lies above zero is "high". About a fifth of the rows is held out, as everywhere.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from django.db import transaction
from safetensors.torch import save_file

from mlmodels import artifacts, datasets, registry, snapshots
from mlmodels.models import DatasetSnapshot, MLModel, ModelVersion, State, VersionCheck
from serving_site.jobs import wait
from tests import zoo

ROWS = [{"x": round(-5 + one / 40 + 0.0125, 4)} for one in range(400)]
SCHEMA = {
    "slug": "zoo-ok", "title": "Zoo", "description": "", "task": "classification", "source": "tests",
    "columns": [{"name": "x", "title": "X", "kind": "number"}],
    "target": {"name": "level", "title": "Level", "kind": "choice", "values": list(zoo.LABELS)},
    "recipe": "table",
}  # fmt: skip


def model() -> MLModel:
    return MLModel.objects.get_or_create(slug="zoo-ok", title="Zoo", task="classification")[0]


def snapshot(rows: list[dict[str, Any]] | None = None) -> DatasetSnapshot:
    """The model's data: all ROWS, or those given."""
    chosen = ROWS if rows is None else rows
    truths: list[str | float] = [zoo.LABELS[int(row["x"] > 0)] for row in chosen]
    return snapshots.take(model(), datasets.Dataset(SCHEMA, chosen, truths), by=None)


def hashes(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({datasets.row_hash(row)[:16] for row in rows})


def held_out(row: dict[str, Any]) -> bool:
    return int(datasets.row_hash(row)[:16], 16) / 2**64 < 0.2


TRAINED_ON = hashes([row for row in ROWS if not held_out(row)])


def high(x: float, scale: float = 1.0, shift: float = 0.0) -> dict[str, Any]:
    """What a version with these weights answers."""
    share = 1 / (1 + math.exp(-2 * (scale * x + shift)))
    return {"label": zoo.LABELS[int(share > 0.5)], "probabilities": {"low": 1 - share, "high": share}}


def write(folder: Path, *, scale: float = 1.0, shift: float = 0.0, architecture: str = "ok", **edits: Any) -> Path:
    """An artifact for the model: `scale` below zero swaps the classes, `shift` moves the line between them."""
    params = edits.pop("params", {})
    zoo.artifact(folder, architecture, **params)
    weights, manifest = folder / "weights.safetensors", folder / "manifest.json"
    save_file(
        {"linear.weight": torch.tensor([[-scale], [scale]]), "linear.bias": torch.tensor([-shift, shift])}, weights
    )
    data, content = weights.read_bytes(), json.loads(manifest.read_text())
    content["files"] = {weights.name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    content["slug"] = "zoo-ok"
    content["golden"] = [{"input": {"x": x}, "output": high(x, scale, shift)} for x in zoo.GOLDEN_INPUTS]
    content["dataset"]["row_hashes"] = TRAINED_ON
    content |= edits
    content["dataset"] = {name: value for name, value in content["dataset"].items() if value is not ...}
    manifest.write_text(json.dumps(content))
    return folder


def accept(folder: Path) -> ModelVersion:
    """Register the artifact and wait for the verdict of the worker that is at work."""
    version = registry.register(artifacts.take_folder(folder), by=None)
    job = version.checks.latest("id")
    assert wait.wait_for(VersionCheck, job.pk, 20)
    version.refresh_from_db()
    return version


def unchecked(folder: Path) -> ModelVersion:
    """A version that misbehaves only later: registered and taken for healthy without a check."""
    with transaction.atomic():
        version = registry.register(artifacts.take_folder(folder), by=None)
        version.checks.all().delete()
        ModelVersion.objects.filter(pk=version.pk).update(state=State.HEALTHY)
    version.refresh_from_db()
    return version
