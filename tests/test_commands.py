"""The commands: help with examples, one JSON object for programs, errors that say what is known, honest exit codes."""

import io
import json
import logging
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.test import override_settings

from mlmodels.management.base import Command as Base
from mlmodels.models import MLModel, ModelVersion, Release, State
from mlmodels.training_runs.decision import headline
from predictions.models import Prediction
from serving_site.accounts.models import User
from serving_site.jobs import sql
from serving_site.jobs.models import Status
from serving_site.jobs.submit import submit
from tests import registry
from tests.processes import SiteProcesses
from tests.session import REPOSITORY

COMMANDS = {
    "evaluate": "mlmodels",
    "replay": "mlmodels",
    "create_model": "mlmodels",
    "export_version": "mlmodels",
    "import_version": "mlmodels",
    "prepare": "mlmodels",
    "promote": "mlmodels",
    "receive_push": "mlmodels",
    "retrain": "mlmodels",
    "rollback": "mlmodels",
    "setup_demo": "mlmodels",
    "first_administrator": "serving_site.accounts",
    "runworker": "serving_site.jobs",
    "sweep": "serving_site.jobs",
    "backup": "serving_site.keeping",
    "restore": "serving_site.keeping",
    "doctor": "serving_site.keeping",
    "prune": "serving_site.keeping",
}


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def model(db: None) -> MLModel:
    """A model with two healthy versions: the first is live, the second has passed the gate."""
    model = registry.live_model("animals")
    first = model.versions.get()
    second = ModelVersion.objects.create(
        model=model, number=2, state=State.HEALTHY, manifest=first.manifest, manifest_sha256="c" * 64,
        weights_sha256="d" * 64, artifact_bytes=1,
    )  # fmt: skip
    registry.passed_gate(second)
    return model


@pytest.mark.parametrize(("name", "app"), COMMANDS.items())
def test_help_has_examples_on_lines_of_their_own(name: str, app: str) -> None:
    text = load_command_class(app, name).create_parser("manage.py", name).format_help()
    assert f"\n  manage.py {name}" in text
    assert "Example" in text


def test_promote_and_roll_back_for_people(model: MLModel) -> None:
    assert run("promote", "animals", "2", "--reason", "better") == ("animals@2 is live as release 2.\n", "")
    assert run("rollback", "animals", "--reason", "worse") == ("animals@1 is live again as release 3.\n", "")
    assert list(Release.objects.order_by("number").values_list("version__number", "reason")) == [
        (1, "first"), (2, "better"), (1, "worse")
    ]  # fmt: skip


def test_promote_and_roll_back_for_programs(model: MLModel) -> None:
    out, err = run("promote", "animals", "2", "--reason", "better", "--json")
    known = {"slug": "animals", "state": "healthy", "metrics": {"accuracy": 0.97, "rows": 50}}
    assert (json.loads(out), err) == ({**known, "version": 2, "release": 2}, "")
    out, err = run("rollback", "animals", "--reason", "worse", "--json")
    assert (json.loads(out), err) == ({**known, "version": 1, "release": 3}, "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("promote", "plants", "1", "--reason", "x"), "There is no model 'plants'. Known: animals."),
        (("promote", "animals", "9", "--reason", "x"), "animals has no version 9. Known: 2, 1."),
        (("promote", "animals", "1", "--reason", "x"), "animals@1 is live already."),
        (("promote", "animals", "2", "--reason", "  "), "Give a reason: it is kept with the release."),
        (("promote", "animals", "two", "--reason", "x"), "Error: argument version: invalid int value: 'two'"),
        (("promote", "animals", "2"), "Error: the following arguments are required: --reason"),
        (("rollback", "plants", "--reason", "x"), "There is no model 'plants'. Known: animals."),
        (("rollback", "animals", "--reason", "x"), "animals has no earlier healthy version to go back to."),
        (("import_version", "nowhere"), "nowhere does not exist: expected a folder or a zip file."),
        (("setup_demo", "iris"), "There is no demo model 'iris': expected one of breast-cancer, digits, diabetes-prog"),
        (("sweep",), "Error: the following arguments are required: --once"),
    ],
)
def test_an_error_says_what_is_known_and_changes_nothing(
    model: MLModel, arguments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(CommandError) as error:
        run(*arguments)
    assert str(error.value).startswith(sentence)
    assert error.value.returncode == 1
    assert Release.objects.count() == 1


def test_without_any_model_an_error_says_so(db: None) -> None:
    with pytest.raises(CommandError, match=r"^There is no model 'animals'. Known: none yet.$"):
        run("promote", "animals", "1", "--reason", "x")


def test_a_failed_command_exits_with_one_and_prints_nothing_for_programs(tmp_path: Any) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    call = [sys.executable, "manage.py", "import_version", "/nowhere", "--json"]
    done = subprocess.run(call, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "CommandError: /nowhere does not exist: expected a folder or a zip file.\n"


def test_sweep_frees_an_expired_lease_and_says_so(model: MLModel) -> None:
    version = model.versions.get(number=1)
    owner = User.objects.create_user("alice", "alice@example.org")
    prediction = Prediction(owner=owner, model=model, version=version, inputs=[{}])
    submit(prediction)
    long_ago = sql.now().replace(year=2020)
    Prediction.objects.update(status=Status.RUNNING, lease_until=long_ago)
    out, _ = run("sweep", "--once", "--json")
    assert json.loads(out) == {"recovered": 1, "gave_up": 0, "rings": 0}
    assert run("sweep", "--once")[0] == "0 leases recovered, 0 rows given up, 0 rings sent\n"
    prediction.refresh_from_db()
    assert (prediction.status, prediction.lost) == ("queued", 1)


def test_a_worker_is_refused_where_the_site_works_by_itself(db: None) -> None:
    with pytest.raises(CommandError, match=r"^This install is embedded: the site works by itself. Set RABBITMQ_URL"):
        run("runworker")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--slots", "0"), "--slots is 0: expected 1 or more."),
        (
            ("--queue", "post.v1"),
            "The queue 'post.v1' is unknown: expected one of check.v1, evaluate.v1, train.v1, infer.v1.",
        ),
        (("--queue", "train.v1", "--except", "train.v1"), "--except leaves no queue to work on."),
    ],
)
def test_a_worker_with_wrong_options_is_refused(arguments: tuple[str, ...], sentence: str) -> None:
    with override_settings(EMBEDDED=False), pytest.raises(CommandError) as error:
        run("runworker", *arguments)
    assert str(error.value) == sentence


def test_a_demo_model_is_trained_once(site_process: SiteProcesses) -> None:
    site_process.manage("migrate", "--verbosity", "0")
    first = json.loads(site_process.manage("setup_demo", "breast-cancer", "--json"))
    started = time.monotonic()
    second = json.loads(site_process.manage("setup_demo", "breast-cancer", "--json"))
    assert time.monotonic() - started < 5
    assert (first["trained"], second["trained"]) == (["breast-cancer"], [])
    (model,) = second["models"]
    assert first["models"] == [model]
    assert (model["slug"], model["version"]) == ("breast-cancer", 1)
    assert model["metrics"]["accuracy"] > 0.9
    assert site_process.manage("shell", "-v", "0", "-c", RUNS).split(" ", 2) == [
        "breast-cancer", "succeeded", f"breast-cancer@1 is live as release 1: {headline(model['metrics'])}.\n"
    ]  # fmt: skip


RUNS = """
from mlmodels.models import TrainingRun
print(*TrainingRun.objects.values_list("model__slug", "status", "outcome").get())
"""


def test_commands_log_warnings_only_and_workers_more(model: MLModel, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("mlmodels.runtime")

    class Talkative(Base):
        def handle(self, *args: Any, **options: Any) -> None:
            log.info("told")
            log.warning("warned")

    call_command(Talkative())
    assert [record.message for record in caplog.records] == ["warned"]
    log.info("again")
    assert [record.message for record in caplog.records] == ["warned", "again"]
    worker = load_command_class("serving_site.jobs", "runworker")
    assert worker.logs == logging.INFO  # type: ignore[attr-defined]
