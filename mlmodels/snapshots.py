"""A model's data as it was once: split by row hash, stored as two files by their content, one row that names them."""

import hashlib
import io
import tempfile
from typing import IO, Any

from django.core.files.base import File
from django.core.files.storage import storages
from django.db import IntegrityError, transaction

from mlmodels import datasets, registry
from mlmodels.datasets import SHORT, BadData, Dataset
from mlmodels.models import DatasetSnapshot, MLModel
from mlmodels.training import split
from serving_site.accounts.models import User, audit

FEWEST_HELD_OUT = 2
CHUNK = 1024 * 1024


def take(model: MLModel, dataset: Dataset, *, by: User | None) -> DatasetSnapshot:
    """The snapshot of `dataset`, new or the one that is there with exactly these rows and targets.

    The schema that it keeps is what a training child is given; it says too which snapshot this is. Raises BadData where
    the rows held out by their hash cannot judge a model, or the task is not the model's.
    """
    if dataset.schema["task"] != model.task:
        raise BadData(f"{model.slug} is a {model.task} model; the data is for {dataset.schema['task']}.")
    parts = split.of_hashes(dataset.hashes())
    sha256 = datasets.labelled_digest(parts.hashes, dataset.targets)
    if known := model.snapshots.filter(sha256=sha256).first():
        return known
    train, held_out = dataset.subset(parts.train), dataset.subset(parts.held_out)
    _judge(train, held_out)
    files = {"train": _store(train), "holdout": _store(held_out)}
    counts = {"sha256": sha256, "rows": len(parts.hashes), "holdout_rows": len(parts.held_out)}
    schema = {**dataset.schema, "slug": model.slug, "title": model.title, "snapshot": counts}
    try:
        with transaction.atomic():
            return _create(model, schema, files, by)
    except IntegrityError:  # somebody took the same one meanwhile
        return model.snapshots.get(sha256=sha256)
    except BaseException:
        registry.discard_files(*files.values())
        raise


def _create(model: MLModel, schema: dict[str, Any], files: dict[str, str], by: User | None) -> DatasetSnapshot:
    counts = schema["snapshot"]
    snapshot = DatasetSnapshot.objects.create(
        model=model,
        sha256=counts["sha256"],
        schema=schema,
        source=schema["source"][:300],
        train_sha256=files["train"],
        train_rows=counts["rows"] - counts["holdout_rows"],
        holdout_sha256=files["holdout"],
        holdout_rows=counts["holdout_rows"],
        created_by=by,
    )
    audit(by, "snapshot.take", snapshot, after=counts)
    return snapshot


def _judge(train: Dataset, held_out: Dataset) -> None:
    found = len(held_out.rows)
    whole = found + len(train.rows)
    if found < FEWEST_HELD_OUT:
        raise BadData(
            f"Of {whole:,} rows the hash of each holds {found} out to judge by: expected at least {FEWEST_HELD_OUT}. "
            "More rows that differ from each other are needed."
        )
    for part, name in ((held_out, "held out to judge by"), (train, "left to train on")):
        if part.classes and len(set(part.targets)) < 2:
            raise BadData(
                f"The {len(part.rows):,} rows {name} (chosen by the hash of each) are all of class {part.targets[0]}: "
                "expected at least two classes. More rows of the others are needed."
            )


def _store(part: Dataset) -> str:
    """Write a part to the storage by the hash of its bytes; the hash. What is there already is not written again."""
    storage = storages["artifacts"]
    with tempfile.TemporaryFile() as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        datasets.write_csv(part, text)
        text.flush()
        sha256 = _digest(file)
        if not storage.exists(sha256):
            storage.save(sha256, File(file, name=sha256))
        text.detach()
    return sha256


def _digest(file: IO[bytes]) -> str:
    """The sha256 of a whole file, which is left at its start."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return digest


def open_train(snapshot: DatasetSnapshot) -> IO[bytes]:
    """The bytes that a training child gets. Raises BadData where the stored file is not what was stored."""
    return _open(snapshot.train_sha256)


def train_part(snapshot: DatasetSnapshot) -> Dataset:
    """The rows to train on."""
    return _read(snapshot, snapshot.train_sha256)


def holdout(snapshot: DatasetSnapshot) -> Dataset:
    """The rows held out: for judging alone, never for training."""
    return _read(snapshot, snapshot.holdout_sha256)


def holdout_hashes(snapshot: DatasetSnapshot) -> set[str]:
    """The start of each held-out row's hash, as a manifest lists the rows that it was trained on."""
    return {digest[:SHORT] for digest in holdout(snapshot).hashes()}


def _read(snapshot: DatasetSnapshot, sha256: str) -> Dataset:
    with _open(sha256) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        return datasets.read_csv(text, snapshot.schema)


def _open(sha256: str) -> IO[bytes]:
    file: IO[bytes] = storages["artifacts"].open(sha256).file  # type: ignore[assignment]
    if _digest(file) != sha256:
        file.close()
        raise BadData(f"The stored data {sha256[:16]}… is corrupt: its bytes do not have that hash.")
    return file


def forget(snapshot: DatasetSnapshot) -> None:
    """Remove a snapshot that nothing was trained on, and its files unless something else uses them."""
    names = (snapshot.train_sha256, snapshot.holdout_sha256)
    snapshot.delete()
    registry.discard_files(*names)
