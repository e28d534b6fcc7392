"""A model's data as it was once: what is held out stays held out, and its files are kept as long as it is."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db import IntegrityError

from mlmodels import artifacts, registry, snapshots
from mlmodels.datasets import BadData, Dataset, read_csv, row_hash
from mlmodels.models import DatasetSnapshot, MLModel
from mlmodels.training import split
from tests import zoo
from tests.mlmodels.conftest import edit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stored")]
Stored = Callable[[], list[str]]

SCHEMA: dict[str, Any] = {
    "slug": "zoo-ok",
    "title": "Cats or dogs",
    "task": "classification",
    "source": "pets.csv",
    "recipe": "table",
    "columns": [{"name": "length", "title": "Length", "kind": "number"}],
    "target": {"name": "kind", "title": "Kind", "kind": "choice", "values": ["cat", "dog"]},
}


MORE_ROWS = "More rows that differ from each other are needed."
TWO_CLASSES = "expected at least two classes. More rows of the others are needed."


def pets(rows: range = range(100), **schema: Any) -> Dataset:
    return Dataset(
        {**SCHEMA, **schema}, [{"length": float(n)} for n in rows], ["cat" if n % 2 else "dog" for n in rows]
    )


LABELLED = list(zip(pets().rows, pets().targets, strict=True))


@pytest.fixture
def model() -> MLModel:
    return registry.model_for(SCHEMA, None)


def test_the_rows_are_parted_by_their_hash_and_both_parts_can_be_read_again(model: MLModel, stored: Stored) -> None:
    snapshot = snapshots.take(model, pets(), by=None)
    train, held_out = snapshots.train_part(snapshot), snapshots.holdout(snapshot)
    assert (snapshot.train_rows, snapshot.holdout_rows) == (len(train.rows), len(held_out.rows))
    assert 10 <= len(held_out.rows) <= 30
    together = sorted(row["length"] for row in train.rows + held_out.rows)
    assert together == [float(number) for number in range(100)]
    assert snapshots.holdout_hashes(snapshot) == {digest[:16] for digest in held_out.hashes()}
    assert not snapshots.holdout_hashes(snapshot) & {digest[:16] for digest in train.hashes()}
    assert stored() == sorted([snapshot.train_sha256, snapshot.holdout_sha256])


def test_a_training_child_is_given_the_rows_to_train_on_and_a_schema_that_names_the_snapshot(model: MLModel) -> None:
    snapshot = snapshots.take(model, pets(slug="another", title="Other"), by=None)
    with snapshots.open_train(snapshot) as file:
        given = read_csv(io.StringIO(file.read().decode(), newline=""), snapshot.schema)
    assert given == snapshots.train_part(snapshot)
    assert (given.schema["slug"], given.schema["title"]) == ("zoo-ok", "Cats or dogs")
    assert given.schema["snapshot"] == {
        "sha256": snapshot.sha256, "rows": 100, "holdout_rows": snapshot.holdout_rows,
    }  # fmt: skip


def test_a_row_is_on_the_same_side_in_every_later_snapshot(model: MLModel) -> None:
    first, later = (snapshots.take(model, pets(range(stop)), by=None) for stop in (100, 300))
    assert snapshots.holdout_hashes(first) < snapshots.holdout_hashes(later)
    assert not snapshots.holdout_hashes(later) & {digest[:16] for digest in snapshots.train_part(first).hashes()}


def test_the_same_rows_in_another_order_are_the_same_snapshot(model: MLModel, stored: Stored) -> None:
    first = snapshots.take(model, pets(), by=None)
    files = stored()
    assert snapshots.take(model, pets(range(99, -1, -1)), by=None) == first
    assert snapshots.take(model, pets(), by=None) == first
    assert stored() == files
    assert DatasetSnapshot.objects.count() == 1
    others = Dataset(SCHEMA, pets().rows, ["dog", *pets().targets[1:-1], "dog"])
    assert snapshots.take(model, others, by=None) != first


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (
            pets(range(2)),
            f"Of 2 rows the hash of each holds 1 out to judge by: expected at least 2. {MORE_ROWS}",
        ),
        (
            Dataset(SCHEMA, pets().rows, ["dog"] * 99 + ["cat"]),
            f"The 80 rows left to train on (chosen by the hash of each) are all of class dog: {TWO_CLASSES}",
        ),
        (
            Dataset(SCHEMA, pets().rows, ["dog" if split.fraction(row_hash(row)) < 0.2 else c for row, c in LABELLED]),
            f"The 20 rows held out to judge by (chosen by the hash of each) are all of class dog: {TWO_CLASSES}",
        ),
        (pets(task="regression"), "zoo-ok is a classification model; the data is for regression."),
    ],
)
def test_data_that_cannot_be_judged_by_is_refused_and_nothing_kept(
    model: MLModel, stored: Stored, dataset: Dataset, sentence: str
) -> None:
    with pytest.raises(BadData) as refused:
        snapshots.take(model, dataset, by=None)
    assert str(refused.value) == sentence
    assert stored() == []
    assert DatasetSnapshot.objects.count() == 0


def test_a_stored_part_that_a_disk_has_spoilt_is_not_learned_from(model: MLModel) -> None:
    snapshot = snapshots.take(model, pets(), by=None)
    path = Path(storages["artifacts"].path(snapshot.holdout_sha256))
    path.write_text(path.read_text().replace("cat", "dog"))
    with pytest.raises(BadData) as refused:
        snapshots.holdout(snapshot)
    assert str(refused.value) == (
        f"The stored data {snapshot.holdout_sha256[:16]}… is corrupt: its bytes do not have that hash."
    )


def test_files_of_a_snapshot_stay_when_a_version_goes_and_the_other_way_round(
    model: MLModel, stored: Stored, folder: Path
) -> None:
    snapshot = snapshots.take(model, pets(), by=None)
    version = registry.register(artifacts.take_folder(folder), by=None)
    everything = stored()
    registry.discard_files(*everything)
    assert stored() == everything
    snapshots.forget(snapshot)
    assert stored() == sorted([version.manifest_sha256, version.weights_sha256])


def test_a_file_that_two_snapshots_share_stays_until_both_are_gone(model: MLModel, stored: Stored) -> None:
    other = registry.model_for({**SCHEMA, "slug": "other"}, None)
    first, second = (snapshots.take(one, pets(), by=None) for one in (model, other))
    assert first.train_sha256 == second.train_sha256
    snapshots.forget(first)
    assert stored() == sorted([second.train_sha256, second.holdout_sha256])
    snapshots.forget(second)
    assert stored() == []


def test_a_version_names_the_snapshot_that_it_was_given_or_whose_hash_it_says(model: MLModel, tmp_path: Path) -> None:
    snapshot = snapshots.take(model, pets(), by=None)
    for name, said, given in (("a", snapshot.sha256, None), ("b", "f" * 64, snapshot), ("c", "f" * 64, None)):
        zoo.artifact(folder := tmp_path / name, "ok")
        edit(folder, dataset={"sha256": said, "rows": 100}, title=name)
        version = registry.register(artifacts.take_folder(folder), by=None, snapshot=given)
        assert version.snapshot == (None if name == "c" else snapshot)


def test_the_hashes_of_the_rows_stay_in_the_stored_file_alone(model: MLModel, folder: Path) -> None:
    hashes = sorted(f"{number:016x}" for number in range(1000))
    edit(folder, dataset={"title": "Pets", "row_hashes": hashes})
    version = registry.register(artifacts.take_folder(folder), by=None)
    version.refresh_from_db()
    assert version.manifest["dataset"] == {"title": "Pets", "row_hashes_count": 1000}
    assert artifacts.read_manifest(version)["dataset"] == {"title": "Pets", "row_hashes": hashes}


def test_a_new_model_is_retrained_by_the_recipe_that_its_manifest_names_if_that_may_run_here(
    settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_RECIPES = ["vineyard.wines"]
    for number, (named, kept) in enumerate([("table", "table"), ("vineyard.wines", "vineyard.wines"), ("os.path", "")]):
        zoo.artifact(folder := tmp_path / str(number), "ok")
        edit(folder, recipe=named, slug=f"m{number}")
        assert registry.register(artifacts.take_folder(folder), by=None).model.recipe == kept


def test_a_snapshot_that_a_version_was_trained_on_cannot_be_forgotten(model: MLModel, folder: Path) -> None:
    snapshot = snapshots.take(model, pets(), by=None)
    registry.register(artifacts.take_folder(folder), by=None, snapshot=snapshot)
    with pytest.raises(IntegrityError):
        snapshots.forget(snapshot)
    assert snapshots.holdout(snapshot).rows
