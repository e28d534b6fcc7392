"""The demo models, trained for real: how good, how reproducible, what they write."""

import hashlib
import json
import signal
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
from mlmodels.datasets import Dataset, read_csv, write_csv
from mlmodels.training import DEMOS, Progress, export, ignore, images, metrics, split, tables, train
from mlmodels.training.artifact import Trained, write
from tests.mlmodels.demos import data, parts, read_digits, trained


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
    assert trained("breast-cancer").metrics["cv_accuracy_mean"] >= 0.95
    assert trained("breast-cancer").metrics["cv_folds"] == 10
    assert share_right("breast-cancer") >= 0.95


def test_diabetes_explains_two_fifths_of_the_variance() -> None:
    assert trained("diabetes-progression").metrics["cv_r2_mean"] >= 0.40
    held = parts("diabetes-progression")[1]
    outputs = trained("diabetes-progression").module.predict(held.rows)
    predicted = np.array([output["value"] for output in outputs])
    assert metrics.r2(predicted, np.array(held.targets)) >= 0.30


def test_digits_are_read_from_scans_that_were_held_out() -> None:
    held = parts("digits")[1]
    outputs = read_digits([images.from_data_uri(row["image"]) for row in held.rows])
    assert np.mean([label == target for label, target in zip(outputs, held.targets, strict=True)]) >= 0.97


def share_right(slug: str) -> float:
    held = parts(slug)[1]
    outputs = trained(slug).module.predict(held.rows)
    return float(np.mean([output["label"] == at for output, at in zip(outputs, held.targets, strict=True)]))


def test_the_demos_are_the_data_that_scikit_learn_carries() -> None:
    cancer, scans = load_breast_cancer(), load_digits()
    assert [list(row.values()) for row in data("breast-cancer").rows] == cancer.data.tolist()
    assert data("breast-cancer").targets == [str(cancer.target_names[at]) for at in cancer.target]
    assert data("diabetes-progression").targets == load_diabetes().target.tolist()
    pictures = [np.asarray(images.from_data_uri(row["image"])) for row in data("digits").rows]
    assert np.array_equal(np.stack(pictures), (scans.images * 255 / 16).round())
    assert data("digits").targets == [str(digit) for digit in scans.target]


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


# The same again


@pytest.mark.parametrize("slug", ["breast-cancer", "diabetes-progression"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(slug: str) -> None:
    first, again, other = (train(parts(slug)[0], seed=seed, epochs=1).weights() for seed in (3, 3, 4))
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
    train(parts("breast-cancer")[0], epochs=4, progress=told.append)
    assert [(progress.epoch, progress.epochs) for progress in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[-1].loss < told[0].loss
    assert all(0 <= progress.metric <= 1 for progress in told)


def test_an_exception_from_progress_ends_the_training() -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parts("digits")[0], progress=stop)


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
    assert tables.fit(table, tables.Settings(epochs=60), seed=0).metrics["cv_accuracy_mean"] > 0.85


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
    assert manifest["recipe"] == slug
    assert {"title", "source", "rows", "sha256", "holdout_rows", "row_hashes"} == set(manifest["dataset"])
    train_rows, held_out = parts(slug)
    assert manifest["dataset"]["row_hashes"] == sorted({digest[:16] for digest in train_rows.hashes()})
    assert not {digest[:16] for digest in held_out.hashes()} & set(manifest["dataset"]["row_hashes"])
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


CHILD = [sys.executable, "-m", "mlmodels.training"]


def files_of(dataset: Dataset, folder: Path) -> list[str]:
    """The arguments by which a child is given the dataset."""
    folder.mkdir(exist_ok=True)
    with (folder / "train.csv").open("w", newline="") as file:
        write_csv(dataset, file)
    (folder / "schema.json").write_text(json.dumps(dataset.schema))
    return ["--data", str(folder / "train.csv"), "--schema", str(folder / "schema.json"), "--out", str(folder / "out")]


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_child_tells_of_every_epoch_and_writes_what_training_here_gives(tmp_path: Path) -> None:
    dataset = parts("diabetes-progression")[0]
    call = [*CHILD, *files_of(dataset, tmp_path), "--epochs", "2", "--seed", "5"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    read, *epochs, write, last = lines_of(done)
    assert (read, write) == ({"stage": "read"}, {"stage": "write"})
    assert [(line["stage"], line["epoch"], line["epochs"]) for line in epochs] == [("fit", 1, 2), ("fit", 2, 2)]
    here = train(dataset, seed=5, epochs=2)
    assert last["done"]["weights_sha256"] == hashlib.sha256(here.weights()).hexdigest()
    assert last["done"]["slug"] == "diabetes-progression"
    assert last["done"]["metrics"] == here.metrics
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["metrics"] == here.metrics
    assert manifest["dataset"]["row_hashes"] == sorted({digest[:16] for digest in dataset.hashes()})


def test_the_child_says_what_is_wrong_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    call = [*CHILD, *files_of(parts("diabetes-progression")[0], tmp_path)]
    text = (tmp_path / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join([text[0], text[1].replace(",", ",x", 1), ""]))
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert lines_of(done)[-1] == {"error": f"Line 2, column sex: found “x{text[1].split(',')[1]}”."}
    (tmp_path / "train.csv").unlink()
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No such file" in lines_of(done)[-1]["error"]
    assert not (tmp_path / "out").exists()


def test_a_child_that_is_interrupted_writes_nothing(tmp_path: Path) -> None:
    call = [*CHILD, *files_of(parts("breast-cancer")[0], tmp_path)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        assert json.loads(child.stdout.readline()) == {"stage": "read"}
        assert json.loads(child.stdout.readline())["stage"] == "fit"
        child.send_signal(signal.SIGINT)
        assert child.stderr.read() == "Stopped; nothing was written.\n"
        assert child.wait(30) == 130
    assert not (tmp_path / "out").exists()


def test_the_data_of_recipes_is_written_as_a_child_reads_it(tmp_path: Path) -> None:
    call = [*CHILD, "--own-data", "digits", "breast-cancer", "--out", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert [line["done"]["recipe"] for line in lines_of(done)] == ["digits", "breast-cancer"]
    for slug in ("digits", "breast-cancer"):
        schema = json.loads((tmp_path / f"{slug}.json").read_bytes())
        with (tmp_path / f"{slug}.csv").open(newline="") as file:
            assert read_csv(file, schema) == data(slug)


def test_the_command_helps_with_examples_and_refuses_what_it_does_not_know() -> None:
    helped = subprocess.run([*CHILD, "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in helped.stdout
    for call in (
        ["--out", "x"],
        ["--data", "x", "--out", "x", "--seed", "-1"],
        ["--data", "x", "--out", "x", "--to", "x"],
    ):
        assert subprocess.run([*CHILD, *call], capture_output=True, check=False).returncode == 2


def test_the_names_can_be_read_without_torch() -> None:
    program = "import mlmodels.training, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
