"""Models, versions and predictions as rows, for tests that need pages rather than answers: nothing here is run."""

import base64
import io
from datetime import timedelta
from typing import Any

from django.utils import timezone
from PIL import Image

from mlmodels import evaluations, gate
from mlmodels.models import Evaluation, MLModel, ModelVersion, Purpose, Release, State, system_user
from predictions.models import Prediction, search_text
from serving_site.accounts.models import User
from serving_site.jobs import sql
from serving_site.jobs.models import Status
from serving_site.jobs.uuid7 import uuid7

TENSORS = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
}
ANIMAL = {
    "properties": {
        "label": {"type": "string", "title": "Animal", "enum": ["cat", "dog"], "x-labels": {"cat": "Cat", "dog": "Dog"}}
    }
}
WEIGHT = {
    "properties": {
        "value": {
            "type": "number", "title": "Weight", "x-unit": "kg", "minimum": 0, "maximum": 100, "x-typical": [10, 60],
        }
    }
}  # fmt: skip
LENGTH = {
    "type": "number", "title": "Length", "description": "From nose to tail.", "x-unit": "cm", "minimum": 10,
    "maximum": 200, "x-typical": [30, 90],
}  # fmt: skip


def schema(examples: list[dict[str, Any]], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, spec in properties.items() if "default" not in spec],
        "x-order": list(properties),
        "properties": properties,
        "examples": examples,
    }


def table_signature() -> dict[str, Any]:
    """A number, a choice, a yes or no; answered by a class."""
    given = schema(
        [
            {"title": "A long one", "input": {"length": 80.0, "coat": "rough", "tame": True}},
            {"title": "A short one", "input": {"length": 30.0, "coat": "smooth", "tame": False}},
        ],
        length=LENGTH,
        coat={"type": "string", "title": "Coat", "enum": ["smooth", "rough"], "x-labels": {"rough": "Rough coat"}},
        tame={"type": "boolean", "title": "Tame"},
    )
    return {"input": given, "output": ANIMAL, "tensors": TENSORS}


def picture_signature() -> dict[str, Any]:
    given = schema(
        [{"title": "A grey one", "input": {"image": data_uri(png())}}],
        image={
            "type": "string", "format": "image", "contentMediaType": "image/png", "title": "Picture", "x-draw": True,
        },
    )  # fmt: skip
    return {"input": given, "output": ANIMAL, "tensors": TENSORS}


def number_signature() -> dict[str, Any]:
    given = schema([{"title": "Any", "input": {"length": 80.0}}], length=LENGTH)
    return {"input": given, "output": WEIGHT, "tensors": TENSORS}


def live_model(
    slug: str = "animals", signature: dict[str, Any] | None = None, *, state: str = State.HEALTHY, **metrics: Any
) -> MLModel:
    """A model with one released version."""
    signature = signature or table_signature()
    task = "classification" if "label" in signature["output"]["properties"] else "regression"
    model = MLModel.objects.create(
        slug=slug, title=slug.capitalize(), task=task, description="Tells what it is. Always."
    )
    version = ModelVersion.objects.create(
        model=model,
        number=1,
        state=state,
        manifest={
            "signature": signature,
            "metrics": metrics or {"accuracy": 0.97, "rows": 50},
            "dataset": {"title": "Animals of the village", "rows": 250},
            "trained_at": "2026-10-05T12:00:00+00:00",
        },
        manifest_sha256=slug.encode().hex().ljust(64, "0")[:64],
        weights_sha256="b" * 64,
        artifact_bytes=1,
    )
    model.live_release = Release.objects.create(model=model, number=1, version=version, reason="first")
    model.save(update_fields=["live_release"])
    return model


def passed_gate(
    version: ModelVersion, against: ModelVersion | None = None, *, passed: bool = True, **fields: Any
) -> Evaluation:
    """The gate's verdict on `version` in place of `against` (default: what is live now), as a worker leaves it."""
    live = MLModel.objects.select_related("live_release__version").get(pk=version.model_id).live_version
    now = sql.now()
    summary = f"The gate {'lets' if passed else 'refuses'} {version}{' pass' if passed else ''}: a test says so."
    check = {"name": "metrics", "passed": passed, "found": "", "expected": "", "sentence": "A test says so."}
    report = {
        "passed": passed, "checks": [check], "candidate": {}, "live": None, "replay": None, "summary": summary,
    }  # fmt: skip
    known = {
        "purpose": Purpose.GATE, "version": version, "against": against or live,
        "snapshot": evaluations.snapshot_for(version), "options": {"thresholds": gate.thresholds(version.model)},
        "owner": system_user(), "status": Status.SUCCEEDED, "passed": passed, "report": report, "created_at": now,
        "completed_at": now,
    }  # fmt: skip
    return Evaluation.objects.create(**{**known, **fields})


def prediction(owner: User, model: MLModel, status: str = "succeeded", **fields: Any) -> Prediction:
    """A row in `status`, as the job protocol would have left it."""
    now = timezone.now()
    release = model.live_release
    assert release is not None
    times = {
        "created_at": now - timedelta(seconds=2),
        "started_at": None if status == "queued" else now - timedelta(seconds=1),
        "completed_at": now if status in ("succeeded", "failed", "canceled") else None,
    }
    if status == "succeeded":
        fields = {
            "outputs": [{"label": "cat", "probabilities": {"cat": 0.9, "dog": 0.1}}],
            "label": "cat",
            "queue_ms": 4.0,
            "load_ms": 0.0,
            "compute_ms": 1.5,
            **fields,
        }
    if "inputs" not in fields:
        fields["inputs"] = [release.version.signature["input"]["examples"][0]["input"]]
    row = Prediction(
        **{
            "id": uuid7(), "owner": owner, "model": model, "version": release.version, "release": release,
            "status": status, "rows": len(fields["inputs"]), **times, **fields,
        }
    )  # fmt: skip
    row.search_text = search_text(row)
    row.save(force_insert=True)
    return row


def png(size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, 90).save(file, "PNG")
    return file.getvalue()


def data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
