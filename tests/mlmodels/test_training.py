"""The demo models, trained for real: how good, how reproducible, what they write."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from mlmodels import signature as signatures
from mlmodels.architectures import REGISTRY
from mlmodels.training import DEMOS, Progress, export, ignore, images, split, tables, train
from mlmodels.training.artifact import Trained, write
from tests.mlmodels.demos import read_digits, trained


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("artifacts")
    for slug in DEMOS:
        export(trained(slug), directory / slug)
    return directory


def manifest_of(artifacts: Path, slug: str) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((artifacts / slug / "manifest.json").read_bytes())
    return manifest


# How good


def test_breast_cancer_is_right_nineteen_times_in_twenty() -> None:
    metrics = trained("breast-cancer").metrics
    assert metrics["cv_accuracy_mean"] >= 0.95
    assert metrics["accuracy"] >= 0.95
    assert metrics["cv_folds"] == 5


def test_diabetes_explains_two_fifths_of_the_variance() -> None:
    metrics = trained("diabetes-progression").metrics
    assert metrics["cv_r2_mean"] >= 0.40
    assert metrics["r2"] >= 0.30


def test_digits_are_read_from_scans_that_were_held_out() -> None:
    assert trained("digits").metrics["accuracy"] >= 0.97


def test_the_held_out_figures_of_the_digits_can_be_had_again_from_the_outside() -> None:
    data = load_digits()
    scans = (data.images * 255 / 16).round().astype(np.uint8)
    held = split.by_hash([{"image": scan.tolist()} for scan in scans]).held_out
    outputs = read_digits([Image.fromarray(scans[index]) for index in held])
    right = sum(label == str(data.target[index]) for label, index in zip(outputs, held, strict=True))
    assert right / len(held) == pytest.approx(trained("digits").metrics["accuracy"], abs=1e-4)


def test_malignant_and_benign_are_not_swapped() -> None:
    data = load_breast_cancer()
    names = list(trained("breast-cancer").signature["input"]["properties"])
    rows = [dict(zip(names, map(float, row), strict=True)) for row in data.data]
    outputs = trained("breast-cancer").module.predict(rows)
    right = [output["label"] == str(data.target_names[at]) for output, at in zip(outputs, data.target, strict=True)]
    assert np.mean(right) > 0.95


# What is held out


def test_rows_are_held_out_by_their_own_content_alone() -> None:
    rows = [{"a": float(number), "b": "x"} for number in range(1000)]
    parts = split.by_hash(rows)
    assert 150 < len(parts.held_out) < 250
    assert sorted(parts.train + parts.held_out) == list(range(1000))
    backwards = split.by_hash(rows[::-1])
    assert sorted(999 - index for index in backwards.held_out) == parts.held_out


def test_duplicates_are_never_on_both_sides() -> None:
    rows = [{"a": float(number % 50)} for number in range(500)]
    parts = split.by_hash(rows)
    assert not {rows[index]["a"] for index in parts.train} & {rows[index]["a"] for index in parts.held_out}


def test_the_digest_of_rows_does_not_depend_on_their_order_but_on_their_targets() -> None:
    hashes = split.by_hash([{"a": 1}, {"a": 2}]).hashes
    digest = split.labelled_digest(hashes, [0, 1])
    assert split.labelled_digest(hashes[::-1], [1, 0]) == digest
    assert split.labelled_digest(hashes, [1, 0]) != digest


def test_a_model_is_not_trained_on_its_held_out_rows() -> None:
    """Nonsense in the targets of the held-out rows leaves the weights as they are."""
    data = load_diabetes()
    columns = [{"name": f"x{number}", "kind": "number"} for number in range(10)]
    rows = [{f"x{at}": value for at, value in enumerate(row)} for row in data.data.tolist()]
    spoilt = data.target.copy()
    spoilt[split.by_hash(rows).held_out] = 1e6
    settings = tables.Settings(epochs=2)
    honest = tables.fit(tables.Table(columns, rows, data.target, []), settings, seed=0)
    other = tables.fit(tables.Table(columns, rows, spoilt, []), settings, seed=0)
    pairs = zip(honest.module.state_dict().values(), other.module.state_dict().values(), strict=True)
    assert all(bool((mine == theirs).all()) for mine, theirs in pairs)
    assert honest.metrics["r2"] != other.metrics["r2"]


# The same again


@pytest.mark.parametrize("slug", ["breast-cancer", "diabetes-progression"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(slug: str) -> None:
    first, again, other = (train(slug, seed=seed, epochs=1).weights() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_pictures_too_give_the_same_weights_for_the_same_seed() -> None:
    data = load_digits()
    pictures = [Image.fromarray((image * 15).astype(np.uint8)) for image in data.images[:150]]
    settings = images.Settings(epochs=2)
    first, again, other = (
        images.fit(pictures, data.target[:150], list("0123456789"), settings, seed=seed, progress=ignore)[0]
        for seed in (3, 3, 4)
    )
    assert save(first.state_dict()) == save(again.state_dict())
    assert save(first.state_dict()) != save(other.state_dict())


def test_progress_is_told_after_every_epoch() -> None:
    told: list[Progress] = []
    train("breast-cancer", epochs=4, progress=told.append)
    assert [(progress.epoch, progress.epochs) for progress in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[-1].loss < told[0].loss
    assert all(0 <= progress.metric <= 1 for progress in told)


def test_an_exception_from_progress_ends_the_training() -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("digits", progress=stop)


# A table of every kind of column


def test_a_table_with_choices_holes_and_three_classes_is_learnt() -> None:
    rng = np.random.default_rng(0)
    rows, target = [], []
    for _ in range(400):
        size, town = float(rng.normal(50, 10)), str(rng.choice(["x", "y", "z"]))
        row = {"town": town, "garden": bool(rng.random() < 0.5), "constant": 7.0, "size": size}
        target.append(0 if town == "x" else 1 if size > 50 else 2)
        rows.append(row if rng.random() < 0.95 else {k: v for k, v in row.items() if k != "size"})
    columns: list[dict[str, Any]] = [
        {"name": "town", "kind": "choice", "values": ["x", "y", "z"]},
        {"name": "garden", "kind": "boolean"},
        {"name": "constant", "kind": "number"},
        {"name": "size", "kind": "number", "missing": True},
    ]
    table = tables.Table(columns, rows, np.array(target), ["a", "b", "c"])
    assert tables.fit(table, tables.Settings(epochs=60), seed=0).metrics["accuracy"] > 0.85


# What is written


@pytest.mark.parametrize("slug", DEMOS)
def test_an_artifact_is_whole_and_answers_its_golden_inputs(artifacts: Path, slug: str) -> None:
    manifest = manifest_of(artifacts, slug)
    assert sorted(path.name for path in (artifacts / slug).iterdir()) == ["manifest.json", "weights.safetensors"]
    signatures.check(manifest["signature"])
    module = REGISTRY[manifest["architecture"]](**manifest["params"])
    module.load_state_dict(load_file(artifacts / slug / "weights.safetensors"), strict=True)
    module.eval()
    items = [
        trained(slug).decode_input(signatures.validate(manifest["signature"], golden["input"]))
        for golden in manifest["golden"]
    ]
    assert len(items) >= 3
    for golden, output in zip(manifest["golden"], module.predict(items), strict=True):
        signatures.check_output(manifest["signature"], output)
        assert signatures.agrees(golden["output"], output)


@pytest.mark.parametrize("slug", DEMOS)
def test_a_manifest_says_where_a_version_comes_from(artifacts: Path, slug: str) -> None:
    manifest = manifest_of(artifacts, slug)
    assert (manifest["format"], manifest["slug"]) == (1, slug)
    weights = (artifacts / slug / "weights.safetensors").stat()
    assert manifest["files"]["weights.safetensors"]["size"] == weights.st_size
    assert manifest["metrics"]["rows"] == manifest["dataset"]["holdout_rows"] > 50
    assert {"name", "title", "source", "rows", "sha256", "holdout_rows", "holdout_sha256"} == set(manifest["dataset"])
    assert {"seed", "epochs", "lr"} <= set(manifest["parameters"])


@pytest.mark.parametrize("slug", DEMOS)
def test_examples_and_data_fit_the_signature(artifacts: Path, slug: str) -> None:
    manifest = manifest_of(artifacts, slug)
    for example in signatures.examples(manifest["signature"]):
        signatures.validate(manifest["signature"], example.input)
    assert 2 <= len(signatures.examples(manifest["signature"])) <= 3
    if slug == "breast-cancer":
        for row in load_breast_cancer().data.tolist():
            names = manifest["signature"]["input"]["x-order"]
            signatures.validate(manifest["signature"], dict(zip(names, row, strict=True)))


@pytest.mark.parametrize("slug", ["breast-cancer", "diabetes-progression"])
def test_what_is_typical_lies_inside_what_is_possible(artifacts: Path, slug: str) -> None:
    fields = [field for field in signatures.fields(manifest_of(artifacts, slug)["signature"]) if field.kind == "number"]
    for field in fields:
        assert field.typical is not None
        assert field.minimum is not None
        assert field.maximum is not None
        assert field.minimum < field.typical[0] + 1e-9 < field.typical[1] < field.maximum


def test_examples_of_digits_are_what_their_titles_say() -> None:
    signature = trained("digits").signature
    for example in signatures.examples(signature):
        picture = images.from_data_uri(example.input["image"])
        assert picture.size == (160, 160)
        assert read_digits([picture]) == [example.title[-1]]


def test_nothing_is_written_where_the_signature_cannot_be_served(tmp_path: Path) -> None:
    good = trained("diabetes-progression")
    fields = vars(good) | {"signature": good.signature | {"tensors": {}}}
    with pytest.raises(signatures.InvalidSignature):
        write(Trained(**fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_files_and_one_object(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlmodels.training", "diabetes-progression"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "new"), "--epochs", "2"], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_bytes())
    assert (said["slug"], said["metrics"]) == ("diabetes-progression", manifest["metrics"])
    assert said["weights_sha256"] == manifest["files"]["weights.safetensors"]["sha256"]
    assert done.stderr.splitlines()[0].startswith("epoch 1/2 ")


def test_the_command_helps_with_examples_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlmodels.training"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in helped.stdout
    refused = subprocess.run([*command, "nobody", "--out", str(tmp_path / "x")], capture_output=True, check=False)
    assert refused.returncode == 2
    assert not (tmp_path / "x").exists()


def test_the_names_can_be_read_without_torch() -> None:
    program = "import mlmodels.training, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
