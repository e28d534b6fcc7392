"""The command retrain, as far as no child is needed: what it refuses, what it queues, and how progress looks."""

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper

from mlmodels import datasets, snapshots
from mlmodels.management import progress
from mlmodels.models import DatasetSnapshot, MLModel, TrainingRun
from tests import sleepy


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("retrain", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def model(transactional_db: None, stored: Callable[[], list[str]], settings: Any) -> MLModel:
    settings.MODEL_RECIPES = [sleepy.NAME]
    model = MLModel.objects.create(slug="sleepy", title="Sleepy", task="classification", recipe=sleepy.NAME)
    snapshots.take(model, sleepy.data(), by=None)
    return model


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """New rows: the model's columns in another order, and one that it does not know."""
    path = tmp_path / "new.csv"
    rows = [f"ann,{'high' if x > 0 else 'low'},{x / 20}" for x in range(-60, 60)]
    path.write_text("\n".join(["owner,level,x", *rows]) + "\n")
    return path


def test_a_training_can_be_queued_and_canceled(model: MLModel) -> None:
    out, err = run("sleepy", "--queue", "--no-wait", "--seed", "3", "--promote", "always", "--reason", "rain", "--json")
    row = TrainingRun.objects.get()
    assert (row.status, row.seed, row.epochs, row.promote, row.reason) == ("queued", 3, None, "always", "rain")
    assert (json.loads(out), err) == (
        {
            "slug": "sleepy", "version": None, "metrics": {}, "weights_sha256": "", "run": str(row.pk),
            "status": "queued", "outcome": f"The training of sleepy is queued as {row.pk}.",
        },
        "",
    )  # fmt: skip
    with pytest.raises(CommandError, match=r"^sleepy is being trained already: the run that system asked for at "):
        run("sleepy", "--queue")
    assert run("sleepy", "--cancel") == ("", "The training of sleepy is canceled.\n")
    row.refresh_from_db()
    assert row.status == "canceled"


def test_new_data_becomes_a_snapshot_and_unknown_columns_are_named(model: MLModel, table: Path) -> None:
    out, err = run("sleepy", "--queue", "--no-wait", "--data", str(table))
    assert err == "Left out, because sleepy does not know them: owner.\n"
    row = TrainingRun.objects.get()
    assert out == f"The training of sleepy is queued as {row.pk}.\n"
    assert (row.snapshot, row.snapshot.source) == (DatasetSnapshot.objects.latest("id"), "new.csv")
    assert row.snapshot.train_rows + row.snapshot.holdout_rows == 120


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("plants",), "There is no model 'plants'. Known: sleepy."),
        (("sleepy", "--no-wait"), "--no-wait goes with --queue: a training in the foreground is waited for."),
        (("sleepy", "--epochs", "0"), "Error: argument --epochs: invalid whole_number value: '0'"),
        (("sleepy", "--seed", "-1"), "Error: argument --seed: invalid whole_number value: '-1'"),
        (("sleepy", "--data", "/nowhere.csv"), "/nowhere.csv cannot be read: No such file or directory."),
        (("sleepy", "--cancel"), "No training of sleepy is queued or running."),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence_and_no_run(
    model: MLModel, arguments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(CommandError) as error:
        run(*arguments)
    assert str(error.value) == sentence
    assert error.value.returncode == 1
    assert TrainingRun.objects.count() == 0


def test_a_bad_cell_of_new_data_is_named_by_line_and_column(model: MLModel, table: Path) -> None:
    table.write_text(table.read_text().replace("ann,low,-0.5\n", "ann,low,minus a half\n"))
    with pytest.raises(CommandError) as error:
        run("sleepy", "--data", str(table))
    assert str(error.value) == ("new.csv: Line 52, column “x”: found “minus a half”, expected a number from -10 to 10.")
    assert (TrainingRun.objects.count(), DatasetSnapshot.objects.count()) == (0, 1)


def test_a_model_that_was_imported_cannot_be_trained_here(model: MLModel) -> None:
    MLModel.objects.create(slug="foreign", title="Foreign", task="classification")
    with pytest.raises(CommandError, match=r"^No data of foreign is known here: its versions were imported\. Train it"):
        run("foreign")


def test_a_recipe_that_is_not_known_here_is_refused(model: MLModel, settings: Any) -> None:
    settings.MODEL_RECIPES = []
    with pytest.raises(CommandError, match=r"^sleepy is trained by the recipe tests\.sleepy, which is not known here"):
        run("sleepy", "--queue")


def test_without_torch_the_queue_is_offered(model: MLModel, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.EMBEDDED = False
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CommandError) as error:
        run("sleepy")
    assert str(error.value) == (
        "Training needs torch, which is not installed here. Add --queue, and a worker trains it."
    )
    assert TrainingRun.objects.count() == 0


def test_data_without_a_header_is_taken_in_the_order_of_its_columns(model: MLModel, tmp_path: Path) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text("\n".join(f"{x / 8},{'a' if x > 0 else 'b'}" for x in range(-60, 60)) + "\n")
    data = datasets.read_table(plain, target="c2", header=False, slug="plain")
    other = MLModel.objects.create(slug="plain", title="Plain", task="classification", recipe="table")
    snapshots.take(other, data, by=None)
    plain.write_text("\n".join(f"{x / 8},{'a' if x > 0 else 'b'}" for x in range(-40, 40)) + "\n")
    run("plain", "--data", str(plain), "--no-header", "--queue", "--no-wait")
    run_ = TrainingRun.objects.get()
    assert run_.snapshot.train_rows + run_.snapshot.holdout_rows == 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(stream: io.StringIO, *messages: dict[str, Any]) -> str:
    line = progress.ProgressLine(OutputWrapper(stream))
    for message in messages:
        line(message)
    line.close()
    return stream.getvalue()


FIT = {"stage": "fit", "epoch": 2, "epochs": 40, "loss": 0.61234, "metric": 0.93}


def test_a_terminal_shows_one_line_that_is_rewritten_and_gone_at_the_end() -> None:
    text = said(Terminal(), {"stage": "start"}, FIT, {"stage": "check"})
    start, fit, check, end = text.split(progress.CLEAR)[1:]
    assert start == "starting …"
    assert fit.startswith("epoch 2/40  loss 0.6123  metric 0.9300  0:00 elapsed  at most 0:0")
    assert (check, end) == ("a worker checks the version …", "")
    assert "\n" not in text


EPOCHS = [{**FIT, "epoch": epoch} for epoch in range(1, 41)]


def test_elsewhere_a_quick_training_is_told_by_its_first_step_and_its_last_epoch() -> None:
    first, last = said(io.StringIO(), {"stage": "start"}, *EPOCHS, {"stage": "write"}, {"stage": "check"}).splitlines()
    assert first == "starting …"
    assert last.startswith("epoch 40/40  loss 0.6123")


def test_elsewhere_a_long_training_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    assert len(said(io.StringIO(), {"stage": "start"}, *EPOCHS, {"stage": "write"}).splitlines()) == 42


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_line_with_a_title_ends_with_what_came_of_it(stream: io.StringIO) -> None:
    line = progress.ProgressLine(OutputWrapper(stream), "[2/3] Training digits … ")
    messages: list[dict[str, Any]] = [{"stage": "start"}, *EPOCHS, {"stage": "write"}]
    for message in messages:
        line(message)
    line.end("done in 8 s")
    shown = [one.rpartition(progress.CLEAR)[2] for one in stream.getvalue().split("\n")[:-1]]
    before = [] if stream.isatty() else ["[2/3] Training digits … starting"]
    assert shown == [*before, "[2/3] Training digits … done in 8 s"]


@pytest.mark.parametrize(("seconds", "shown"), [(7.4, "0:07"), (750, "12:30"), (3723, "1:02:03")])
def test_durations_read_as_on_a_clock(seconds: float, shown: str) -> None:
    assert progress.clock(seconds) == shown
