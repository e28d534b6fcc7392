"""What people once asked, as evidence for the gate and for replays: real inputs with the answers they got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlmodels.gate import StoredInput
from mlmodels.models import MLModel, ModelVersion
from predictions import uploads
from predictions.models import Prediction
from serving_site.jobs.models import Status

CHUNK = 100


def stored_inputs(model: MLModel, last: int, version: ModelVersion | None) -> Iterator[StoredInput]:
    """The newest succeeded predictions of `model` (of one `version`, or of all), together of at most `last` rows.

    Pictures are read as each is reached; one whose file is gone comes without inputs.
    """
    succeeded = Prediction.objects.filter(model=model, status=Status.SUCCEEDED)
    if version is not None:
        succeeded = succeeded.filter(version=version)
    room = last
    for chunk in _chunks(list(succeeded.order_by("-id").values_list("pk", "rows")[:last])):
        fitting = []
        for key, rows in chunk:
            room -= rows
            if room < 0:
                break
            fitting.append(key)
        for prediction in Prediction.objects.filter(pk__in=fitting).order_by("-id"):
            yield StoredInput(
                prediction.pk,
                prediction.version_id,
                _inputs(prediction.inputs),
                prediction.outputs or [],
                prediction.batch_rows,
            )
        if room <= 0:
            return


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))


def _inputs(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The rows as an executor takes them; None when a picture's file is gone."""
    try:
        return [{name: uploads.value(value) for name, value in row.items()} for row in rows]
    except FileNotFoundError:
        return None
