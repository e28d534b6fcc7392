"""What becomes of a model, as rows for tests of pages: data, trainings, evaluations, pushes. Nothing here is run."""

import math
from datetime import timedelta
from typing import Any

from django.utils import timezone

from mlmodels.models import (
    DatasetSnapshot,
    Delivery,
    Evaluation,
    MLModel,
    ModelVersion,
    Purpose,
    State,
    TrainingRun,
    system_user,
)
from serving_site.accounts.models import User

COMMIT = "c0ffee" + "0" * 34
CLASS_REPORT: dict[str, Any] = {
    "rows": 100,
    "metrics": {
        "accuracy": 0.94, "balanced_accuracy": 0.93, "auc": 0.981, "log_loss": 0.172, "ece": 0.031,
    },
    "confusion": {"classes": ["cat", "dog"], "counts": [[57, 3], [3, 37]]},
    "roc": [{"class": "dog", "points": [[0, 0], [0.02, 0.8], [0.1, 0.95], [1, 1]], "auc": 0.981}],
    "calibration": [[0.05, 0.04, 50], [0.45, 0.5, 4], [0.95, 0.97, 46]],
    "latency_ms": {"single_p50": 0.42, "single_p95": 0.61, "batch_per_row": 0.008},
    "memory_mb": 212.4,
}  # fmt: skip
NUMBER_REPORT: dict[str, Any] = {
    "rows": 80,
    "metrics": {"mae": 3.2, "rmse": 4.4, "r2": 0.81},
    "residuals": {
        "points": [[20 + n, 20 + n + 5 * math.sin(n * 2.4)] for n in range(40)],
        "histogram": [[-6, -2, 12], [-2, 2, 51], [2, 6, 17]],
    },
    "latency_ms": {"single_p50": 0.31, "single_p95": 0.4, "batch_per_row": 0.002},
    "memory_mb": 198,
}


def gate_report(*disagreements: Any, passed: bool = False) -> dict[str, Any]:
    """What a gate says; `disagreements` are ids of predictions."""
    return {
        "passed": passed,
        "summary": "It may go live." if passed else "2 of 4 checks failed: accuracy, replay.",
        "checks": [
            {
                "name": "accuracy", "passed": passed, "found": 0.91, "expected": 0.93,
                "sentence": "Found 0.91, expected at least 0.93, which is the live version's less 0.01.",
            },
            {"name": "signature", "passed": True, "found": "same", "expected": "same", "sentence": "The same form."},
            {"name": "corrections", "passed": None, "found": 0, "expected": 0, "sentence": "No corrections are kept."},
            {
                "name": "replay", "passed": passed, "found": 2, "expected": 0,
                "sentence": f"{len(disagreements)} of 50 stored inputs are answered otherwise.",
            },
        ],
        "candidate": {"accuracy": 0.91, "log_loss": 0.3},
        "live": {"accuracy": 0.94, "log_loss": 0.172},
        "replay": {
            "rows": 50, "agree": 50 - len(disagreements),
            "disagreements": [{"prediction": str(key), "distance": 2 - n / 9} for n, key in enumerate(disagreements)],
        },
    }  # fmt: skip


def version(model: MLModel, number: int, state: str = State.HEALTHY, **fields: Any) -> ModelVersion:
    """Another version of a model that has one."""
    first = model.versions.order_by("number").first()
    assert first is not None
    return ModelVersion.objects.create(
        **{
            "model": model, "number": number, "state": state, "manifest": first.manifest,
            "manifest_sha256": f"{number:02x}{model.pk.hex}".ljust(64, "0"), "weights_sha256": f"{number:064x}",
            "artifact_bytes": 2**15, **fields,
        }
    )  # fmt: skip


def snapshot(model: MLModel, sha256: str = "d" * 64, **fields: Any) -> DatasetSnapshot:
    columns = [
        {"name": "length", "title": "Length", "kind": "number", "unit": "cm", "minimum": 10, "maximum": 200},
        {"name": "coat", "title": "Coat", "kind": "choice", "values": ["smooth", "rough"], "missing": True},
    ]
    schema = {
        "slug": model.slug, "title": "Animals of the village", "task": model.task, "recipe": "table",
        "columns": columns, "target": {"name": "animal", "title": "Animal", "kind": "choice", "values": ["cat", "dog"]},
    }  # fmt: skip
    given = {"schema": schema, "source": "animals.csv", "train_rows": 400, "holdout_rows": 100}
    hashes = {"train_sha256": "1" * 64, "holdout_sha256": "2" * 64}
    return DatasetSnapshot.objects.create(**{"model": model, "sha256": sha256, **given, **hashes, **fields})


def times(status: str) -> dict[str, Any]:
    now = timezone.now()
    return {
        "status": status,
        "created_at": now - timedelta(minutes=3),
        "started_at": None if status == "queued" else now - timedelta(minutes=2),
        "completed_at": now if status in ("succeeded", "failed", "canceled") else None,
    }


def training_run(data: DatasetSnapshot, status: str = "succeeded", epochs: int = 20, **fields: Any) -> TrainingRun:
    """A run in `status`, with a curve of `epochs` epochs so far."""
    curves = [
        [epoch, round(math.exp(-epoch / 6) + 0.2, 4), round(1 - 0.5 / epoch, 4)] for epoch in range(1, epochs + 1)
    ]
    last = curves[-1] if curves else [0, None, None]
    progress = {"stage": "fit", "epoch": last[0], "epochs": 40, "loss": last[1], "metric": last[2]}
    given = {"owner": system_user(), "recipe": "table", "curves": curves, "progress": progress if curves else {}}
    return TrainingRun.objects.create(
        **{"model": data.model, "snapshot": data, "seed": 7, "code_commit": COMMIT, **given, **times(status), **fields}
    )


def evaluation(
    of: ModelVersion, purpose: str = Purpose.EVALUATE, status: str = "succeeded", **fields: Any
) -> Evaluation:
    return Evaluation.objects.create(
        **{"version": of, "purpose": purpose, "owner": system_user(), **times(status), **fields}
    )


def delivery(of: ModelVersion, commit: str = COMMIT, **fields: Any) -> Delivery:
    return Delivery.objects.create(
        **{"version": of, "commit": commit, "subject": "Fewer misses", "pushed_by": "eve@example.org", **fields}
    )


def lived_model(model: MLModel, alice: User) -> MLModel:
    """`model` with everything that can become of one: data, runs in every state, evaluations, a gate, a push."""
    data = snapshot(model)
    first = model.versions.get(number=1)
    gone = [first.predictions.order_by("pk").values_list("pk", flat=True)[:2]]
    second = version(model, 2, snapshot=data, measured={**CLASS_REPORT["metrics"], "rows": 100})
    training_run(data, version=second, weights_sha256=second.weights_sha256, outcome="Registered.", log="one\ntwo")
    for status in ("queued", "running", "failed", "canceled"):
        training_run(data, status, epochs=0 if status == "queued" else 9, error="Killed." if status == "failed" else "")
    evaluation(second, snapshot=data, report=CLASS_REPORT)
    evaluation(second, status="running")
    evaluation(second, Purpose.REPLAY, report={"rows": 9, "agree": 9, "identical": 8, "disagreements": []})
    report = gate_report(*(key for keys in gone for key in keys))
    gate = evaluation(second, Purpose.GATE, against=first, snapshot=data, report=report, passed=False)
    delivery(second, evaluation=gate, outcome="Waits for an operator.")
    model.releases.create(
        number=1 + model.releases.count(), version=second, by=alice, reason="better <b>",
        evidence={"evaluation": str(gate.pk), "override": "The hold-out is <old>."},
    )  # fmt: skip
    model.live_release = model.releases.latest("number")
    model.save(update_fields=["live_release"])
    return model
