"""Stored inputs are run again and compared with the stored answers, down to the last bit."""

import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from mlmodels import evaluations, releases, replays
from mlmodels.models import MLModel, ModelVersion
from predictions.models import Prediction
from serving_site.accounts.models import User
from serving_site.jobs import submit
from serving_site.jobs.models import Status
from tests import levels, registry
from tests.processes import wait_until
from tests.working import Working

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def live(working: Working, tmp_path: Path) -> ModelVersion:
    version = levels.accept(levels.write(tmp_path / "live"))
    registry.passed_gate(version)
    releases.promote(version.model, version, by=None, reason="the first", warm_s=0)
    return version


def alice() -> User:
    return User.objects.get_or_create(username="alice", defaults={"email": "alice@example.org"})[0]


def asked(version: ModelVersion, *xs: float) -> Prediction:
    """A prediction that the worker has answered: one request of len(xs) rows."""
    inputs = [{"x": x} for x in xs]
    prediction = Prediction(owner=alice(), model=version.model, version=version, inputs=inputs, rows=len(xs))
    submit.submit(prediction)
    wait_until(lambda: Prediction.objects.get(pk=prediction.pk).status == Status.SUCCEEDED)
    prediction.refresh_from_db()
    return prediction


def replayed(version: ModelVersion, last: int = 100, **options: Any) -> dict[str, Any]:
    done = evaluations.await_report(replays.submit(version, last=last, by=None, **options), 20)
    assert (done.status, done.error, done.passed) == ("succeeded", "", None)
    return {name: value for name, value in done.report.items() if value}


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_a_prediction_says_how_many_inputs_shared_its_forward(live: ModelVersion) -> None:
    assert [asked(live, 1.0).batch_rows, asked(live, 1.0, 2.0, 3.0).batch_rows] == [1, 3]


def test_rows_that_first_ran_alone_are_identical_when_they_run_alone_again(live: ModelVersion) -> None:
    for x in (0.1, -0.7, 2.3):
        asked(live, x)
    asked(live, 0.3, -0.9)
    everything = {"rows": 5, "agree": 5, "alone_rows": 3, "alone_identical": 3}
    found = replayed(live, is_alone=True)
    assert {name: found[name] for name in everything} == everything
    assert found["identical"] >= 3
    together = replayed(live)
    assert (together["rows"], together["agree"]) == (5, 5)
    assert Prediction.objects.count() == 4


def test_another_version_is_compared_with_what_the_first_one_answered(live: ModelVersion, tmp_path: Path) -> None:
    near, far = asked(live, -0.5), asked(live, 3.0)
    other = levels.accept(levels.write(tmp_path / "b", shift=1.0))
    assert replayed(other) == {}
    found = replayed(other, of_any_version=True)
    assert (found["rows"], found.get("agree", 0), found["alone_rows"]) == (2, 0, 2)
    assert [one["prediction"] for one in found["disagreements"]] == [str(far.pk), str(near.pk)]
    was, now = levels.high(3.0)["probabilities"]["low"], levels.high(3.0, shift=1.0)["probabilities"]["low"]
    assert found["disagreements"][0]["distance"] == pytest.approx((was - now) / was, rel=1e-3)


def test_only_the_last_rows_of_succeeded_predictions_count(live: ModelVersion) -> None:
    for x in (1.0, 2.0, 3.0):
        asked(live, x)
    Prediction.objects.filter(inputs=[{"x": 3.0}]).delete()
    registry.prediction(alice(), MLModel.objects.get(), "failed", inputs=[{"x": 9.0}])
    assert replayed(live, last=1)["rows"] == 1
    assert replayed(live)["rows"] == 2


def test_what_cannot_be_run_again_is_counted(live: ModelVersion) -> None:
    asked(live, 1.0)
    model = MLModel.objects.get()
    output = levels.high(1.0)
    registry.prediction(alice(), model, inputs=[{"x": {"upload": str(uuid.uuid4())}}], outputs=[output])
    unfit = registry.prediction(alice(), model, inputs=[{"x": 1e9}], outputs=[output])
    found = replayed(live)
    assert (found["rows"], found["agree"], found["unanswered"], found["gone"]) == (2, 1, 1, 1)
    assert found["disagreements"] == [{"prediction": str(unfit.pk), "distance": 1.0}]


def test_a_version_that_breaks_fails_its_replay(live: ModelVersion, tmp_path: Path) -> None:
    asked(live, 1.0)
    bad = levels.unchecked(levels.write(tmp_path / "bad", architecture="segv"))
    done = evaluations.await_report(replays.submit(bad, last=5, by=None, of_any_version=True), 20)
    assert done.status == "failed"
    assert done.error.startswith("zoo-ok@2 failed while it was tried (died)")


def test_the_command_says_what_was_found(live: ModelVersion) -> None:
    assert run("replay", "zoo-ok", "--last", "5") == "zoo-ok@1 has no stored inputs to run again.\n"
    asked(live, 1.0)
    asked(live, 2.0)
    lines = run("replay", "zoo-ok", "--last", "5", "--alone").splitlines()
    assert lines == [
        "zoo-ok@1, 2 rows run again",
        "  agree                2 of 2",
        "  identical in bits    2 of 2",
        "  first run alone      2, of which 2 identical in bits",
    ]
    told = json.loads(run("replay", "zoo-ok@1", "--last", "5", "--alone", "--json"))
    assert (told["slug"], told["version"], told["rows"], told["agree"], told["identical"]) == ("zoo-ok", 1, 2, 2, 2)


@pytest.mark.parametrize("last", ["0", "-3", "100001"])
def test_a_number_of_rows_that_means_nothing_is_refused(live: ModelVersion, last: str) -> None:
    with pytest.raises(CommandError) as error:
        run("replay", "zoo-ok", "--last", last)
    assert str(error.value) == f"--last is {last}: expected 1 to 100,000."
