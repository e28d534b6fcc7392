"""What the gate lets pass and what it refuses: two versions side by side, in real executors, on a tiny table."""

import datetime
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from mlmodels import evaluations, gate, releases
from mlmodels.models import Evaluation, MLModel, ModelVersion, Release, State
from predictions import evidence
from predictions.models import Prediction
from serving_site.accounts.models import AuditEvent, User
from tests import levels, registry, zoo
from tests.working import Working

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
HELD_OUT = [row for row in levels.ROWS if levels.held_out(row)]
Candidate = Callable[..., ModelVersion]


@pytest.fixture
def live(working: Working, tmp_path: Path) -> ModelVersion:
    """A version that knows the table, live; the rows are held out."""
    levels.snapshot()
    version = levels.accept(levels.write(tmp_path / "live"))
    registry.passed_gate(version)
    releases.promote(version.model, version, by=None, reason="the first", warm_s=0)
    return version


@pytest.fixture
def candidate(live: ModelVersion, tmp_path: Path) -> Candidate:
    """`candidate(shift=1.0)`: the next version, checked."""

    def make(**how: Any) -> ModelVersion:
        return levels.accept(levels.write(tmp_path / uuid.uuid4().hex, **{"scale": 1.5, **how}))

    return make


def verdict(version: ModelVersion, live: ModelVersion | None, **options: Any) -> Evaluation:
    return gate.verdict(version, live, by=None, wait_s=30, **options)


def failed(evaluation: Evaluation) -> list[str]:
    assert evaluation.status == "succeeded", evaluation.error
    assert evaluation.passed == evaluation.report["passed"]
    return [check["name"] for check in evaluation.report["checks"] if not check["passed"]]


def sentence(evaluation: Evaluation, name: str) -> str:
    return str(next(check["sentence"] for check in evaluation.report["checks"] if check["name"] == name))


def promote(version: ModelVersion, **options: Any) -> Release:
    return releases.promote(version.model, version, **{"by": None, "reason": "better", "warm_s": 0, **options})


def test_an_equal_version_passes_and_the_report_says_everything(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate(scale=1.5)
    done = verdict(version, live)
    assert failed(done) == []
    report = done.report
    assert [check["name"] for check in report["checks"]] == [
        "admission", "signature", "leak", "accuracy", "balanced accuracy", "log loss", "latency", "corrections",
        "replay",
    ]  # fmt: skip
    assert all(set(check) == {"name", "passed", "found", "expected", "sentence"} for check in report["checks"])
    assert all(check["sentence"].endswith(".") for check in report["checks"])
    assert report["candidate"]["accuracy"] == report["live"]["accuracy"] == 1
    assert report["candidate"]["rows"] == len(HELD_OUT)
    assert report["summary"] == f"The gate lets {version} pass: all 9 checks passed."
    version.refresh_from_db()
    assert version.measured == report["candidate"]
    assert Prediction.objects.count() == 0


def test_a_worse_version_is_refused_with_what_was_found_and_expected(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate(scale=1.0, shift=2.0)
    done = verdict(version, live)
    assert failed(done) == ["accuracy", "balanced accuracy", "log loss"]
    share = 1 - sum(-2 < row["x"] < 0 for row in HELD_OUT) / len(HELD_OUT)
    said = sentence(done, "accuracy")
    assert said.startswith(
        f"Accuracy on {len(HELD_OUT)} rows held out is {share:.4f}; the live version's is 1.0000, and"
    )
    assert done.report["summary"] == f"The gate refuses {version}: {said} (2 more of 9 checks failed.)"
    with pytest.raises(releases.GateRefused) as refused:
        promote(version)
    assert str(refused.value) == done.report["summary"]
    assert refused.value.evaluation.report["passed"] is False
    assert MLModel.objects.get().live_version == live


def test_swapped_classes_are_refused(live: ModelVersion, candidate: Candidate) -> None:
    done = verdict(candidate(scale=-1.0), live)
    assert "accuracy" in failed(done)
    assert done.report["candidate"]["accuracy"] == 0


def test_a_first_version_is_not_measured_twice(working: Working, tmp_path: Path) -> None:
    levels.snapshot()
    version = levels.accept(levels.write(tmp_path / "first"))
    measured = evaluations.await_report(evaluations.submit(version, purpose="evaluate", by=None), 30).report
    done = verdict(version, None)
    assert failed(done) == []
    assert [check["name"] for check in done.report["checks"]] == [
        "admission", "signature", "leak", "metrics", "latency", "corrections"
    ]  # fmt: skip
    assert done.report["candidate"] == {**measured["metrics"], "rows": measured["rows"]}
    took = f"{measured['latency_ms']['single_p50']:.3g}"
    assert sentence(done, "latency") == f"One row takes {took} ms. There is no live version to compare with."


def test_one_row_less_is_always_allowed(live: ModelVersion, candidate: Candidate) -> None:
    below = sorted((row["x"] for row in HELD_OUT if row["x"] < 0), reverse=True)
    one, two = (-(below[n] + below[n + 1]) / 2 for n in range(2))
    assert failed(verdict(candidate(scale=1.0, shift=one), live)) == []
    assert "accuracy" in failed(verdict(candidate(scale=1.0, shift=two), live))


def test_a_version_that_saw_rows_held_out_is_refused(live: ModelVersion, candidate: Candidate) -> None:
    leaky = {"row_hashes": levels.hashes([*HELD_OUT[:3], *levels.ROWS[100:]])}
    done = verdict(candidate(dataset=leaky), live)
    assert failed(done) == ["leak"]
    seen = sum(row in HELD_OUT[:3] or row in levels.ROWS[100:] for row in HELD_OUT)
    assert (
        sentence(done, "leak") == f"It was trained on {seen} of the {len(HELD_OUT)} rows that are held out to judge it."
    )


def test_rows_held_out_of_any_earlier_data_count_as_seen(live: ModelVersion, candidate: Candidate) -> None:
    old = [{"x": sign * (100 + one / 8)} for one in range(80) for sign in (-1, 1)]
    levels.snapshot(old)
    levels.snapshot([*levels.ROWS, {"x": 90.0}])  # the newest, which judges
    done = verdict(candidate(dataset={"row_hashes": levels.hashes(old)}), live)
    assert failed(done) == ["leak"]


@pytest.mark.parametrize("hashes", [..., []])
def test_a_version_that_does_not_say_what_it_was_trained_on_is_refused(
    live: ModelVersion, candidate: Candidate, hashes: Any
) -> None:
    version = candidate(dataset={"row_hashes": hashes})
    done = verdict(version, live)
    assert failed(done) == ["leak"]
    assert sentence(done, "leak").startswith("Cannot be checked: its manifest does not list the hashes")


def test_weights_with_nan_never_reach_the_gate(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate(scale=float("nan"), golden=[{"input": {"x": 1.0}, "output": zoo.expected(1.0)}])
    assert version.state == State.REFUSED
    assert "linear.weight" in version.state_reason
    with pytest.raises(releases.NotReleasable, match="Only a healthy version can go live"):
        promote(version)
    assert Evaluation.objects.filter(version=version).count() == 0


def changed(**spec: Any) -> dict[str, Any]:
    signature = zoo.signature()
    signature["input"]["properties"]["x"] |= spec
    return signature


def test_an_incompatible_signature_is_refused_unless_somebody_overrides_it(
    live: ModelVersion, candidate: Candidate
) -> None:
    version = candidate(signature=changed(maximum=500.0))
    done = verdict(version, live)
    assert failed(done) == ["signature"]
    assert sentence(done, "signature") == (
        "Not compatible with zoo-ok@1: The field x accepts a number from -1000000 to 500; it accepted a number from "
        "-1000000 to 1000000."
    )
    assert promote(version, override="nobody asks for more").evidence["override"] == "nobody asks for more"


def test_a_slow_version_is_refused(live: ModelVersion, candidate: Candidate) -> None:
    done = verdict(candidate(architecture="slow", params={"seconds": 0.03}), live)
    assert failed(done) == ["latency"]
    assert done.report["candidate"]["accuracy"] == 1


def test_a_version_that_breaks_on_a_row_is_refused(live: ModelVersion, candidate: Candidate, tmp_path: Path) -> None:
    version = levels.unchecked(levels.write(tmp_path / "bad", architecture="nan"))
    done = verdict(version, live)
    assert failed(done) == ["trial"]
    assert sentence(done, "trial").startswith(
        f"{version} failed while it was tried (bad_output): The model answered with"
    )


def test_a_live_version_that_breaks_does_not_keep_a_sound_one_out(working: Working, tmp_path: Path) -> None:
    levels.snapshot()
    broken = levels.unchecked(levels.write(tmp_path / "live", architecture="segv"))
    done = verdict(levels.accept(levels.write(tmp_path / "next")), broken)
    assert failed(done) == []
    said = sentence(done, "live version")
    assert said.startswith("The live version could not be compared with: zoo-ok@1 failed while it was tried (died)")


def test_rows_that_only_the_candidate_cannot_answer_are_counted_against_it(
    live: ModelVersion, candidate: Candidate
) -> None:
    done = verdict(candidate(signature=changed(maximum=4.0)), live)
    assert "answered rows" in failed(done)


def test_a_gate_does_not_overwrite_what_an_evaluation_has_measured(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate()
    evaluations.await_report(evaluations.submit(version, purpose="evaluate", by=None), 20)
    verdict(version, live)
    version.refresh_from_db()
    assert version.measured["latency_ms"] > 0


def test_without_a_live_version_only_floors_count(working: Working, tmp_path: Path) -> None:
    levels.snapshot()
    version = levels.accept(levels.write(tmp_path / "a", scale=-1.0))
    done = verdict(version, None)
    assert failed(done) == []
    assert sentence(done, "metrics").endswith("There is no live version to compare with.")
    assert done.report["live"] is None
    MLModel.objects.update(gate={"min_accuracy": 0.5})
    version.model.refresh_from_db()
    done = verdict(version, None)
    assert failed(done) == ["least accuracy"]
    assert sentence(done, "least accuracy") == "Accuracy is 0; at least 0.5 is wanted whatever is live."


def test_a_models_own_thresholds_hold(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate(shift=2.0)
    MLModel.objects.update(gate={"max_drop": 1.0, "max_balanced_drop": 1.0, "max_log_loss_rise": 1000})
    version.model.refresh_from_db()
    assert failed(verdict(version, live)) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "Expected an object of thresholds"),
        ({"max_dorp": 0.1}, "There is no threshold 'max_dorp'. Known: max_drop, "),
        ({"max_drop": "0.1"}, "max_drop is '0.1': expected a number from 0 to 1."),
        ({"max_drop": True}, "max_drop is 'True': expected a number from 0 to 1."),
        ({"max_drop": None}, "max_drop is 'None': expected a number from 0 to 1."),
        ({"max_drop": float("nan")}, "max_drop is 'nan': expected a number from 0 to 1."),
        ({"replay_last": 10.5}, "replay_last is '10.5': expected a whole number from 0 to 10000."),
        ({"max_latency_factor": 0.5}, "max_latency_factor is '0.5': expected a number from 1 to 1000."),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(engine: str, value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as error:
        gate.validate_thresholds(value)
    assert error.value.messages[0].startswith(words)


def test_sound_thresholds_are_accepted(engine: str) -> None:
    gate.validate_thresholds({})
    gate.validate_thresholds(gate.DEFAULTS)
    gate.validate_thresholds({"min_r2": -0.5, "replay_last": 0, "max_drop": 0})


# Real inputs that were answered before.


def answered(model: MLModel, version: ModelVersion, x: float, **fields: Any) -> Prediction:
    owner, _ = User.objects.get_or_create(username="alice", defaults={"email": "alice@example.org"})
    given = {"inputs": [{"x": x}], "outputs": [levels.high(x)], "version": version, "batch_rows": 1, **fields}
    return registry.prediction(owner, MLModel.objects.get(pk=model.pk), **given)


def test_disagreements_on_stored_inputs_are_listed_by_prediction_worst_first(
    live: ModelVersion, candidate: Candidate
) -> None:
    asked = {x: answered(live.model, live, x) for x in (-3.0, -1.5, -0.5, 1.0, 2.0, 3.0)}
    answered(live.model, live, 5.0, status="failed", outputs=None)
    version = candidate(scale=1.0, shift=2.0)
    done = verdict(version, live)
    assert "replay" in failed(done)
    found = done.report["replay"]
    assert (found["rows"], found["agree"], found["unanswered"], found["gone"]) == (6, 4, 0, 0)
    assert [one["prediction"] for one in found["disagreements"]] == [str(asked[x].pk) for x in (-0.5, -1.5)]
    near = levels.high(-0.5, 1.0, shift=2.0)["probabilities"]["high"] - levels.high(-0.5)["probabilities"]["high"]
    assert found["disagreements"][0]["distance"] == pytest.approx(near, rel=1e-4)
    assert sentence(done, "replay") == (
        "Of the last 6 stored inputs it answers 2 unlike the live version; at most 1 are allowed."
    )
    text = gate.as_text(done.report)
    assert f"      prediction {asked[-0.5].pk} differs by {near:.3g}" in text.splitlines()
    assert Prediction.objects.count() == 7


def test_what_another_version_answered_is_asked_of_the_live_one_again(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate()
    wrong = {"label": "low", "probabilities": {"low": 1.0, "high": 0.0}}
    for x in (1.0, 2.0, 3.0):
        answered(live.model, version, x, outputs=[wrong])
    done = verdict(version, live)
    assert (done.report["replay"]["rows"], done.report["replay"]["agree"]) == (3, 3)


def test_only_the_last_stored_inputs_are_answered_again(live: ModelVersion, candidate: Candidate) -> None:
    for x in (1.0, 2.0, 3.0):
        answered(live.model, live, x)
    version = candidate()
    MLModel.objects.update(gate={"replay_last": 2})
    version.model.refresh_from_db()
    assert verdict(version, live).report["replay"]["rows"] == 2
    assert [one.inputs for one in evidence.stored_inputs(live.model, 2, None)] == [[{"x": 3.0}], [{"x": 2.0}]]
    answered(live.model, live, 4.0, inputs=[{"x": 4.0}] * 2, outputs=[levels.high(4.0)] * 2)
    assert [len(one.inputs or ()) for one in evidence.stored_inputs(live.model, 2, None)] == [2]


def test_a_stored_input_that_does_not_fit_counts_as_a_disagreement(live: ModelVersion, candidate: Candidate) -> None:
    for x in (1.0, 900.0, 901.0):
        answered(live.model, live, x)
    done = verdict(candidate(signature=changed(maximum=500.0)), live)
    assert (done.report["replay"]["unanswered"], done.report["replay"]["agree"]) == (2, 1)
    assert {one["distance"] for one in done.report["replay"]["disagreements"]} == {1.0}


def test_a_stored_picture_whose_file_is_gone_is_counted(live: ModelVersion, candidate: Candidate) -> None:
    answered(live.model, live, 1.0)
    answered(live.model, live, 1.0, inputs=[{"x": {"upload": str(uuid.uuid4())}}])
    done = verdict(candidate(), live)
    assert (done.report["replay"]["rows"], done.report["replay"]["gone"]) == (1, 1)
    assert sentence(done, "replay").endswith("The files of 1 are gone.")


@pytest.fixture
def corrected() -> Iterator[list[gate.Correction]]:
    """Accepted corrections, as another app would register them."""
    given: list[gate.Correction] = []
    gate.corrections.append(lambda model: given)
    yield given
    gate.corrections.pop()


def test_accepted_corrections_must_be_answered_as_corrected(
    live: ModelVersion, candidate: Candidate, corrected: list[gate.Correction]
) -> None:
    corrected.append(gate.Correction(uuid.uuid4(), {"x": 1.0}, "high"))
    version = candidate()
    done = verdict(version, live)
    assert sentence(done, "corrections") == "It answers all 1 accepted corrections as they were corrected."
    missed = gate.Correction(uuid.uuid4(), {"x": 2.0}, "low")
    corrected.append(missed)
    Evaluation.objects.all().delete()
    done = verdict(version, live)
    assert failed(done) == ["corrections"]
    assert sentence(done, "corrections") == (
        f"It answers 1 of 2 accepted corrections otherwise, the first for prediction {missed.key}."
    )


# One verdict for one question.


def test_a_verdict_is_taken_again_for_ten_minutes_for_exactly_the_same_question(
    live: ModelVersion, candidate: Candidate
) -> None:
    version = candidate()
    first = verdict(version, live)
    assert verdict(version, live) == first
    assert verdict(version, None) != first
    MLModel.objects.update(gate={"max_drop": 0.5})
    version.model.refresh_from_db()
    assert verdict(version, live) != first
    MLModel.objects.update(gate={})
    version.model.refresh_from_db()
    assert verdict(version, live) == first
    levels.snapshot([*levels.ROWS, {"x": 90.0}])
    assert verdict(version, live) != first


def test_an_old_verdict_and_a_refusal_are_not_taken_again(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate()
    old = registry.passed_gate(version)
    assert verdict(version, live) == old
    Evaluation.objects.filter(pk=old.pk).delete()
    assert old.completed_at
    at = old.completed_at - datetime.timedelta(seconds=gate.REUSED_S + 1)
    old = registry.passed_gate(version, completed_at=at)
    assert verdict(version, live) != old
    worse = candidate(shift=2.0)
    refused = verdict(worse, live)
    assert verdict(worse, live) != refused
    newest = Evaluation.objects.filter(version=worse).latest("id")
    assert verdict(worse, live, is_refusal_known=True) == newest


def test_two_who_ask_at_once_share_one_verdict(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate()
    options = {"thresholds": gate.thresholds(version.model)}
    under_way = evaluations.submit(version, purpose="gate", by=None, against=live, options=options)
    assert verdict(version, live) == under_way


# Releases.


def test_a_release_keeps_the_gates_report(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate()
    release = promote(version)
    done = Evaluation.objects.get(version=version, purpose="gate")
    assert release.evidence == {"evaluation": str(done.pk), "gate": "passed", **done.report}
    assert releases.rollback(live.model, by=None, reason="worse").evidence == {
        "rollback_of": 2, "gate": "passed before release 1"
    }  # fmt: skip


def person(name: str, *codenames: str) -> User:
    user = User.objects.create_user(name, f"{name}@example.org", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def test_overriding_the_gate_needs_a_permission_and_is_recorded(live: ModelVersion, candidate: Candidate) -> None:
    version = candidate(shift=2.0)
    with pytest.raises(
        releases.NotReleasable, match=r"^bob may not override the gate: the permission mlmodels.override_g"
    ):
        promote(version, by=person("bob", "add_release"), override="I know better")
    assert Evaluation.objects.filter(version=version).count() == 0
    ann = person("ann", "override_gate")
    release = promote(version, by=ann, override="  the law has changed ")
    assert (release.evidence["gate"], release.evidence["override"]) == ("overridden", "the law has changed")
    assert release.evidence["passed"] is False
    event = AuditEvent.objects.filter(action="model.release").latest("id")
    assert (event.actor, event.after["gate overridden"]) == (ann, "the law has changed")


def test_an_override_that_was_not_needed_is_not_recorded_as_one(live: ModelVersion, candidate: Candidate) -> None:
    release = promote(candidate(), override="to be sure")
    assert release.evidence["gate"] == "passed"
    assert "override" not in release.evidence


def test_if_better_is_asked_for_an_equal_version_stays_a_candidate(live: ModelVersion, candidate: Candidate) -> None:
    worse = candidate(scale=0.9)  # as right, and less sure
    with pytest.raises(releases.NotBetter, match=r"^zoo-ok@2 passes the gate and is no better than zoo-ok@1.$"):
        promote(worse, only_better=True)
    assert promote(candidate(scale=1.1), only_better=True).number == 2


def test_without_a_worker_a_promotion_says_so(
    engine: str, stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "ABSENT_S", 0.1)
    version = levels.unchecked(levels.write(tmp_path / "a"))
    with pytest.raises(releases.NotReleasable, match=r"^No worker is running, so zoo-ok@1 cannot be tried. Start one"):
        promote(version)
    assert Release.objects.count() == 0


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_command_prints_the_report_when_the_gate_refuses_and_takes_an_override(
    live: ModelVersion, candidate: Candidate, capsys: pytest.CaptureFixture[str]
) -> None:
    version = candidate(shift=2.0)
    err = io.StringIO()
    with pytest.raises(CommandError) as error:
        call_command("promote", "zoo-ok", "2", "--reason", "better", stderr=err)
    assert (str(error.value), error.value.returncode) == (
        "zoo-ok@2 does not go live. --override REASON overrides the gate.", 1
    )  # fmt: skip
    lines = err.getvalue().splitlines()
    assert lines[0].split(maxsplit=2)[:2] == ["pass", "admission"]
    assert [line.split()[1] for line in lines if line.startswith("FAIL")] == ["accuracy", "balanced", "log"]
    assert lines[-1].startswith("The gate refuses zoo-ok@2: Accuracy on")
    out, _ = run("promote", "zoo-ok", "2", "--reason", "better", "--override", "it must be")
    assert out == "zoo-ok@2 is live as release 2.\n"
    assert version.releases.get().evidence["override"] == "it must be"


def test_an_import_passes_the_gate_or_stays_a_candidate(live: ModelVersion, tmp_path: Path) -> None:
    err = io.StringIO()
    with pytest.raises(CommandError, match=r"^zoo-ok@2 does not go live."):
        call_command("import_version", str(levels.write(tmp_path / "a", shift=2.0)), "--promote", "always", stderr=err)
    assert "FAIL  accuracy" in err.getvalue()
    out, _ = run("import_version", str(levels.write(tmp_path / "b", scale=0.9)), "--promote", "if-better")
    assert out == (
        "zoo-ok@3 is healthy. zoo-ok@3 passes the gate and is no better than zoo-ok@1. It stays a candidate.\n"
    )
    out, _ = run("import_version", str(levels.write(tmp_path / "c", scale=1.1)), "--promote", "if-better")
    assert out == "zoo-ok@4 is healthy and live as release 2\n"
