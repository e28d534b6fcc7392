"""Submitting, and everything a person may do to their prediction afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, QuerySet

from mlmodels import releases, signature
from mlmodels.models import MLModel, ModelVersion, State
from predictions import pictures, uploads
from predictions.models import Prediction, Source, Upload, search_text
from serving_site.jobs import finish, sql
from serving_site.jobs import submit as jobs_submit
from serving_site.jobs.models import FINAL, Lane, Status

Files = Mapping[tuple[int, str], UploadedFile[Any]]
AHEAD_LIMIT = 1000
FORGET_ROWS = 1000
ESTIMATE_FRESH_S = 1.0
RECENT_S = 600
"""Older completions say nothing about how fast work is done now."""


class RejectedInput(ValueError):
    """The person can fix it. `code` is for programs, `field` says where (empty: the request as a whole)."""

    def __init__(self, message: str, code: str = "rejected", field: str = "") -> None:
        super().__init__(message)
        self.message, self.code, self.field = message, code, field


def submit(
    owner: Any,
    model: MLModel,
    inputs: Sequence[Mapping[str, Any]],
    *,
    files: Files | None = None,
    source: str = Source.WEB,
    version: ModelVersion | None = None,
    idempotency_key: str = "",
    note: str = "",
    lane: int = Lane.CLICK,
) -> Prediction:
    """Store one request of len(inputs) rows and ring; returns its row, or the earlier one of the same key and content.

    Pictures come in `files` by (row number, field name). Raises signature.InvalidInput (which fields, what was found),
    RejectedInput, releases.Unavailable. When it raises, nothing was stored.
    """
    chosen = _chosen(model, owner, version)
    files = files or {}
    content_types = {place: _inspected(file, place[1]) for place, file in files.items()}
    rows = _validated(chosen, inputs, files)
    digest = _digest(chosen, rows, files)
    # Without files nothing is stored in vain: the unique key itself finds the rare repeated form, below.
    if files and (earlier := _earlier(owner, idempotency_key, digest)):
        return earlier
    kept: list[str] = []
    try:
        # Without files the row's INSERT is the whole transaction; within another one a savepoint keeps that usable.
        with transaction.atomic() if files or connection.in_atomic_block else contextlib.nullcontext():
            for (number, name), file in files.items():
                upload = uploads.store(owner.pk, file, content_types[number, name], file.name or "")
                kept.append(str(upload.id))
                rows[number][name] = {"upload": str(upload.id)}
            return _create(
                owner, model, chosen, rows, version is not None, files,
                source=source, idempotency_key=idempotency_key, request_sha256=digest, note=note[:500], lane=lane,
            )  # fmt: skip
    except IntegrityError:
        uploads.remove(kept)
        if earlier := _earlier(owner, idempotency_key, digest):
            return earlier
        raise
    except Exception:
        uploads.remove(kept)
        raise


def cancel(prediction: Prediction) -> bool:
    """Cancel what is queued or running; False when it had ended already."""
    return finish.cancel(prediction)


def run_again(prediction: Prediction, user: Any, *, lane: int = Lane.CLICK) -> Prediction:
    """The same inputs once more, on the version that is live now. Raises as `submit`."""
    if prediction.owner_id != user.pk:
        raise RejectedInput("Only its owner can run this again.", code="forbidden")
    chosen = _chosen(prediction.model, user, None)
    rows: list[dict[str, Any]] = [dict(row) for row in prediction.inputs]
    _validated(chosen, [{k: v for k, v in row.items() if not isinstance(v, dict)} for row in rows], _places(rows))
    kept: list[str] = []
    try:
        with transaction.atomic():
            for row in rows:
                for name, value in row.items():
                    if isinstance(value, dict):
                        kept.append(str(uploads.copy(value["upload"]).id))
                        row[name] = {"upload": kept[-1]}
            again = Prediction(size=prediction.size, file_name=prediction.file_name, note=prediction.note, lane=lane)
            return _save(again, user, prediction.model, chosen, rows)
    except (Upload.DoesNotExist, FileNotFoundError):
        uploads.remove(kept)
        raise RejectedInput("A picture of this prediction is gone; choose it anew.", code="input_missing") from None
    except Exception:
        uploads.remove(kept)
        raise


def send_again(prediction: Prediction, *, lane: int = Lane.CLICK) -> Prediction:
    """For operators: a prediction once more, for its owner, on the live version. Raises as `submit`."""
    return run_again(prediction, prediction.owner, lane=lane)


def set_note(prediction: Prediction, note: str) -> None:
    """Change the note and what history searches."""
    prediction.note = note.strip()[:500]
    prediction.search_text = search_text(prediction)
    prediction.save(update_fields=["note", "search_text"])


def delete(prediction: Prediction) -> None:
    """Remove the row and its files for good. What still runs is canceled first, so its result is fenced off."""
    finish.cancel(prediction)
    prediction.refresh_from_db(fields=["previews"])
    keys = _files(prediction.inputs, prediction.previews)
    with transaction.atomic():
        Prediction.objects.filter(pk=prediction.pk).delete()
        transaction.on_commit(lambda: uploads.remove(keys))


def forget(predictions: QuerySet[Prediction]) -> int:
    """Remove rows that have ended, a thousand at a time, with their files; returns how many there were."""
    count = 0
    ended = predictions.filter(status__in=FINAL).order_by("pk")
    while some := list(ended.values_list("pk", "inputs", "previews")[:FORGET_ROWS]):
        keys = [key for _, inputs, previews in some for key in _files(inputs, previews)]
        with transaction.atomic():
            Prediction.objects.filter(pk__in=[key for key, _, _ in some]).delete()
            Upload.objects.filter(pk__in=keys).delete()
        uploads.remove(keys)
        count += len(some)
    return count


def _files(inputs: Sequence[Mapping[str, Any]], previews: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The keys of what a prediction was given and what was drawn for it."""
    given = [value["upload"] for row in inputs for value in row.values() if isinstance(value, dict)]
    return given + [key for one in previews.values() for key in one.values()]


@dataclass(frozen=True)
class Position:
    """How many queued predictions go first; None when there are more than 1,000."""

    ahead: int | None

    @property
    def text(self) -> str:
        if self.ahead is None:
            return f"more than {AHEAD_LIMIT:,} go first"
        return "next in line" if self.ahead == 0 else f"{self.ahead:,} go first"


def position(prediction: Prediction) -> Position:
    """Where a queued prediction stands, counted up to 1,000."""
    lane, turn, key = prediction.lane, prediction.turn, prediction.pk
    first = Q(lane__lt=lane) | Q(lane=lane, turn__lt=turn) | Q(lane=lane, turn=turn, pk__lt=key)
    ahead = len(
        Prediction.objects.filter(first, status=Status.QUEUED).values_list("lane", flat=True)[: AHEAD_LIMIT + 1]
    )
    return Position(ahead if ahead <= AHEAD_LIMIT else None)


_drained: tuple[float, float | None] = (-1e9, None)


def estimate(prediction: Prediction) -> float | None:
    """About how many seconds until it starts, from what the last minute completed; None when nothing did."""
    per_second = _rate()
    ahead = position(prediction).ahead
    if per_second is None or ahead is None:
        return None
    return (ahead + 1) / per_second


def _rate() -> float | None:
    """Predictions completed per second in the last minute, computed at most once a second per process."""
    global _drained  # noqa: PLW0603 - a cache of one number
    if time.monotonic() - _drained[0] > ESTIMATE_FRESH_S:
        done = Prediction.objects.filter(completed_at__isnull=False).order_by("-pk")
        times = [at for at in done.values_list("completed_at", flat=True)[:200] if at is not None]
        seconds = (sql.now() - min(times)).total_seconds() if times else 0.0
        _drained = (time.monotonic(), len(times) / seconds if times and seconds < RECENT_S else None)
    return _drained[1]


def _chosen(model: MLModel, owner: Any, version: ModelVersion | None) -> ModelVersion:
    if version is None:
        return releases.version_for(model, owner)
    if version.state != State.HEALTHY:
        raise releases.Unavailable(f"Version {version.number} of {model.title} is {version.state} and cannot answer.")
    return version


def _inspected(file: UploadedFile[Any], field: str) -> str:
    try:
        return pictures.check_picture(file)
    except pictures.RejectedPicture as error:
        raise RejectedInput(error.message, error.code, field) from None


def _places(rows: Sequence[Mapping[str, Any]]) -> set[tuple[int, str]]:
    return {(number, name) for number, row in enumerate(rows) for name, value in row.items() if isinstance(value, dict)}


def _validated(chosen: ModelVersion, inputs: Sequence[Mapping[str, Any]], files: Any) -> list[dict[str, Any]]:
    """The rows in the form of the signature; a picture stands as a placeholder until it is stored."""
    if not inputs:
        raise RejectedInput("There is no input.", code="empty")
    rows = []
    for number, row in enumerate(inputs):
        given = {**row, **{name: "file" for place, name in files if place == number}}
        rows.append(dict(signature.validate(chosen.signature, given)))
    return rows


def _digest(chosen: ModelVersion, rows: Sequence[Mapping[str, Any]], files: Files) -> str:
    """What makes two requests the same: model, values and the bytes of their files."""
    digest = hashlib.sha256(json.dumps([str(chosen.model_id), rows], sort_keys=True).encode())
    for place in sorted(files):
        for chunk in files[place].chunks():
            digest.update(chunk)
        files[place].seek(0)
    return digest.hexdigest()


def _earlier(owner: Any, key: str, digest: str) -> Prediction | None:
    if not key:
        return None
    found = list(Prediction.objects.filter(owner=owner, idempotency_key=key).values_list("pk", "request_sha256")[:1])
    if not found:
        return None
    if found[0][1] != digest:
        raise RejectedInput(
            "This form was already sent with other values. Reload the page to send a new one.", code="key_reused"
        )
    return Prediction.objects.select_related("model", "version").get(pk=found[0][0])


def _create(
    owner: Any,
    model: MLModel,
    chosen: ModelVersion,
    rows: list[dict[str, Any]],
    pinned: bool,
    files: Files,
    **fields: Any,
) -> Prediction:
    names = [uploads.shown_name(file.name or "") for file in files.values()]
    size = sum(file.size or 0 for file in files.values())
    prediction = Prediction(pinned=pinned, file_name=", ".join(names)[:255], size=size, **fields)
    return _save(prediction, owner, model, chosen, rows)


def _save(
    prediction: Prediction, owner: Any, model: MLModel, chosen: ModelVersion, rows: list[dict[str, Any]]
) -> Prediction:
    prediction.owner, prediction.model, prediction.version = owner, model, chosen
    live = model.live_release
    prediction.release = live if live and live.version_id == chosen.pk else None
    prediction.inputs, prediction.rows = rows, len(rows)
    prediction.size = prediction.size or len(json.dumps(rows))
    prediction.search_text = search_text(prediction)
    jobs_submit.submit(prediction)
    return prediction


def new_key() -> str:
    """An idempotency key for one rendering of a form."""
    return uuid.uuid4().hex
