"""`create_model`: a CSV file becomes a served model, or nothing at all."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from mlmodels import creation, snapshots
from mlmodels.datasets import Dataset
from mlmodels.management import inferred
from mlmodels.models import DatasetSnapshot, MLModel
from mlmodels.training import RECIPES
from serving_site.accounts.models import AuditEvent
from tests import nearest, registry
from tests.installs import Install
from tests.test_commands import run

Stored = Callable[[], list[str]]
PLAICE = (
    "There is no column “plaice”. Did you mean “place”? "
    "The file has name, length (cm), weight_kg, caught, colour, place."
)
PLACES = {"lake": 1.0, "river": 4.0, "sea": 7.0}


@pytest.fixture
def fish(tmp_path: Path) -> Path:
    """A table with a number that has a unit, words, holes, names, and a class that the length gives away."""
    rng = random.Random(1)
    path = tmp_path / "fish.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["name", "length (cm)", "weight_kg", "caught", "colour", "place"])
        for number in range(150):
            place = rng.choice(list(PLACES))
            length = round(PLACES[place] + rng.gauss(0, 0.4), 2)
            weight = "" if number % 10 == 0 else round(rng.uniform(1, 3), 2)
            lines.writerow([f"fish {number}", length, weight, rng.choice(["yes", "no"]), rng.choice("ab"), place])
    return path


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("create_model", *arguments)
    return str(refused.value)


@pytest.mark.django_db
def test_a_dry_run_says_what_is_in_the_file_and_makes_nothing(fish: Path, stored: Stored) -> None:
    out, said = run("create_model", "fish", "--data", str(fish), "--target", "place", "--dry-run")
    assert out == ""
    assert said.splitlines() == [
        "column       type     range or values  unit  missing",
        "length (cm)  number   -0.13 to 7.85    cm",
        "weight_kg    number   1.01 to 2.98     kg    15 rows",
        "caught       boolean  yes or no",
        "colour       choice   a, b",
        "Left out: name, which is text that differs in most rows: names, ids or free text.",
        "A missing value stays missing: the form lets it out, and the model learns what that tells.",
        "150 rows. A class is predicted (classification): place, lake (44), river (49), sea (57).",
    ]
    assert (MLModel.objects.count(), DatasetSnapshot.objects.count(), stored()) == (0, 0, [])
    out, _ = run("create_model", "fish", "--data", str(fish), "--target", "length (cm)", "--dry-run", "--json")
    assert json.loads(out)["schema"]["target"]["kind"] == "number"


def test_a_number_and_many_values_are_told_briefly() -> None:
    columns = [{"name": "town", "title": "Town", "kind": "choice", "values": [f"t{n}" for n in range(9)]}]
    target = {"name": "price", "title": "Price", "kind": "number", "seen": [1.5, 1234567.0], "unit": "EUR"}
    assert inferred.as_text(Dataset({"columns": columns, "target": target}, [{}], [1.5])).splitlines() == [
        "column  type    range or values                    unit  missing",
        "Town    choice  t0, t1, t2, t3, t4, t5 and 3 more",
        "1 rows. A number is predicted (regression): Price, 1.5 to 1.23457e+06 EUR.",
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["Fish"], "'Fish' is no name for a model: small letters, digits and single hyphens, 60 at most."),
        (["f", "--data", "{fish}"], "--target is missing: which column is to be predicted?"),
        (["f", "--target", "place"], "--data is missing: expected a CSV file."),
        (["f", "--data", "/no.csv", "--target", "x"], "/no.csv cannot be read: No such file or directory."),
        (["f", "--data", "/", "--target", "x"], "/ cannot be read: Is a directory."),
        (["f", "--title", "x" * 121], "The title has 121 characters: expected at most 120."),
        (["f", "--data", "{fish}", "--target", "plaice"], PLAICE),
        (["f", "--recipe", "os.path"], f"There is no recipe 'os.path': expected one of {', '.join(RECIPES)}."),
    ],
)  # fmt: skip
def test_what_cannot_become_a_model_is_refused_and_nothing_is_kept(
    fish: Path, stored: Stored, arguments: list[str], sentence: str
) -> None:
    assert refusal(*(word.replace("{fish}", str(fish)) for word in arguments)) == sentence
    assert (MLModel.objects.count(), stored()) == (0, [])


@pytest.mark.django_db
def test_a_name_that_is_taken_is_refused_with_what_to_do(fish: Path) -> None:
    registry.live_model("animals")
    assert refusal("animals", "--data", str(fish), "--target", "place") == (
        "There is a model animals already. Train it on other data: manage.py retrain animals --data FILE"
    )


@pytest.mark.django_db
def test_rows_that_cannot_be_held_out_leave_no_model(tmp_path: Path, stored: Stored) -> None:
    path = tmp_path / "same.csv"
    path.write_text("a,b\n" + "1,x\n2,y\n" * 20)
    assert refusal("same", "--data", str(path), "--target", "b").startswith("Of 40 rows the hash of each holds 0 out")
    assert (MLModel.objects.count(), stored()) == (0, [])


# A model that begins


@pytest.mark.django_db
def test_a_model_without_a_version_is_abandoned_whole(stored: Stored) -> None:
    snapshot = creation.begin(nearest.dataset(), by=None)
    assert len(stored()) == 2
    assert creation.abandon(snapshot.model, by=None)
    assert (MLModel.objects.count(), DatasetSnapshot.objects.count(), stored()) == (0, 0, [])
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["model.create", "snapshot.take", "model.abandon"]


@pytest.mark.django_db
def test_a_model_with_a_version_is_not_abandoned() -> None:
    assert not creation.abandon(registry.live_model(), by=None)
    assert MLModel.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("stored")
def test_one_that_is_being_made_is_waited_for_and_one_that_was_killed_is_replaced() -> None:
    first = creation.begin(nearest.dataset(), by=None)
    with pytest.raises(creation.Exists, match=r"^The model points is being made at this moment\."):
        creation.begin(nearest.dataset(), by=None)
    MLModel.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    second = creation.begin(nearest.dataset(), by=None)
    assert second.model.pk != first.model.pk
    assert snapshots.holdout(second).rows
    assert (MLModel.objects.count(), DatasetSnapshot.objects.count()) == (1, 1)


# In a real install


@pytest.fixture
def install() -> Iterator[Install]:
    """An embedded install whose site does not run: the command does itself what the site would."""
    install = Install.embedded()
    yield install
    install.close()


def manage(site: Install, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=site.tree,
        env=site.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stored_files(site: Install) -> list[str]:
    return [path.name for path in (Path(site.environment["DATA_DIR"]) / "files").rglob("*") if path.is_file()]


COUNTS = """
from mlmodels.models import *
print(MLModel.objects.count(), DatasetSnapshot.objects.count(), TrainingRun.objects.count())
"""


def test_a_table_becomes_a_model_that_is_live_with_its_figures(install: Install, fish: Path) -> None:
    with manage(
        install, "create_model", "fish", "--data", str(fish), "--target", "place", "--title", "Where from",
        "--promote", "always", "--json",
    ) as command:  # fmt: skip
        out, said = command.communicate(timeout=120)
    assert command.returncode == 0, said
    answer = json.loads(out)
    assert (answer["slug"], answer["version"], answer["state"]) == ("fish", 1, "healthy")
    assert answer["url"].endswith("/models/fish/")
    assert answer["metrics"]["accuracy"] > 0.9
    assert answer["metrics"]["rows"] > 20
    assert ("length (cm)  number" in said, "{" in said) == (True, False)  # for a person, without logs
    assert "fish@1 on " in said
    told = json.loads(install.shell(TOLD))
    assert told["live"] == 1
    assert told["title"] == "Where from"
    assert told["rows"] == 150
    assert told["held_out"] == told["snapshot_held_out"]
    assert told["required"] == ["length_cm", "caught", "colour"]
    assert told["right"] > 0.9
    assert told["run"].startswith("fish@1 is live as release 1: accuracy ")
    assert told["curves"] > 1
    assert len(told["commit"]) >= 40
    refused = manage(install, "create_model", "fish", "--data", str(fish), "--target", "place")
    _, said = refused.communicate(timeout=60)
    assert (refused.returncode, said.splitlines()[-1]) == (
        1, "CommandError: There is a model fish already. Train it on other data: manage.py retrain fish --data FILE",
    )  # fmt: skip


TOLD = """
import json
from mlmodels import snapshots
from mlmodels.models import MLModel, TrainingRun
from mlmodels.runtime import close, get_runtime
model = MLModel.objects.get()
version = model.live_version
held = snapshots.holdout(version.snapshot)
run, _ = get_runtime().predict(version, held.rows, deadline_s=20)
right = sum(one.output["label"] == target for one, target in zip(run.outcomes, held.targets))
close()
print(json.dumps({
    "live": version.number, "title": model.title, "rows": version.manifest["dataset"]["rows"],
    "held_out": version.manifest["dataset"]["holdout_rows"], "snapshot_held_out": version.snapshot.holdout_rows,
    "required": version.signature["input"]["required"], "right": right / len(held.rows),
    "run": TrainingRun.objects.filter(version=version, snapshot=version.snapshot, status="succeeded").get().outcome,
    "curves": len(TrainingRun.objects.get().curves), "commit": TrainingRun.objects.get().code_commit,
}))
"""


def test_a_recipe_and_an_architecture_of_ones_own_make_a_model_too(install: Install) -> None:
    call = ("create_model", "spots", "--recipe", "tests.nearest", "--title", "Spots", "--promote", "always", "--json")
    assert json.loads(install.manage(*call))["version"] == 1
    told = json.loads(install.shell(TOLD))
    assert (told["title"], told["live"], told["right"]) == ("Spots", 1, 1.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_while_it_trains_finds_nothing_left(install: Install, fish: Path, number: signal.Signals) -> None:
    with manage(install, "create_model", "fish", "--data", str(fish), "--target", "place") as command:
        assert command.stderr
        for line in command.stderr:
            if line == "starting …\n":
                break
        os.kill(command.pid, number)
        _, said = command.communicate(timeout=60)
    assert (command.returncode, said.splitlines()[-1]) == (130, "CommandError: Stopped: nothing of it is kept.")
    assert install.shell(COUNTS).split() == ["0", "0", "0"]
    assert stored_files(install) == []


def test_a_training_that_fails_leaves_nothing_but_its_sentence(install: Install) -> None:
    with manage(install, "create_model", "points", "--recipe", "tests.nearest", "--epochs", "13", "--json") as command:
        out, said = command.communicate(timeout=60)
    assert (command.returncode, out) == (1, "")
    assert said.splitlines()[-1] == "CommandError: The training stopped with an error: ValueError: thirteen epochs."
    assert install.shell(COUNTS).split() == ["0", "0", "0"]
    assert stored_files(install) == []
