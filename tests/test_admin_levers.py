"""The levers of a model's life: each asks, needs its permission, acts through the one function, and shows a refusal."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from mlmodels import evaluations
from mlmodels.admin.models import MLModelAdmin
from mlmodels.models import Evaluation, MLModel, ModelVersion, Promote, Purpose, Release, TrainingRun
from serving_site.accounts.models import AuditEvent, User
from tests import life, registry
from tests.test_admin import staff, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.org"))
    return client


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", "alice@example.org")


@pytest.fixture
def model() -> MLModel:
    """Version 1 is live, version 2 waits."""
    model = registry.live_model("animals")
    life.version(model, 2)
    return model


def refused_gate(version: ModelVersion, **fields: Any) -> Evaluation:
    """A verdict under way is taken as it ends: here it has ended in a refusal."""
    return registry.passed_gate(version, passed=False, report=life.gate_report(), **fields)


def lever(name: str, row: Any) -> str:
    return reverse(f"admin:mlmodels_{name}", args=[row.pk])


def page_of(row: Any) -> str:
    return reverse(f"admin:mlmodels_{row._meta.model_name}_change", args=[row.pk])


def stored_refusal(monkeypatch: pytest.MonkeyPatch, version: ModelVersion) -> Evaluation:
    """The gate has refused `version`, and a worker would say so again."""
    refusal = refused_gate(version)
    monkeypatch.setattr(evaluations, "await_report", lambda evaluation, timeout_s: refusal)
    return refusal


def test_what_passes_the_gate_goes_live(root: Client, model: MLModel) -> None:
    version = model.versions.get(number=2)
    registry.passed_gate(version)
    page = text(root.get(lever("promote", version)))
    assert "Make animals@2 live? animals@1 answers now." in page
    assert "override" not in page
    said = text(root.post(lever("promote", version), {"reason": "better"}, follow=True))
    assert "Live now: animals@2, release 2." in said
    assert model.releases.get(number=2).evidence["gate"] == "passed"


def test_a_refusal_shows_its_report_and_asks_who_may_why_it_does_not_count(
    root: Client, model: MLModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = model.versions.get(number=2)
    stored_refusal(monkeypatch, version)
    page = text(root.post(lever("promote", version), {"reason": "better"}))
    assert "2 of 4 checks failed: accuracy, replay." in page
    assert "To release it all the same, say why." in page
    assert 'name="override"' in page
    assert ">better</textarea>" in page.replace("> ", ">").replace(" better", "better")
    assert Release.objects.count() == 1
    again = text(root.post(lever("promote", version), {"reason": "better", "override": "  "}))
    assert "To release it all the same, say why." in again
    assert Release.objects.count() == 1
    said = text(root.post(lever("promote", version), {"reason": "better", "override": "Old rows."}, follow=True))
    assert "Live now: animals@2, release 2." in said
    release = model.releases.get(number=2)
    assert (release.evidence["gate"], release.evidence["override"]) == ("overridden", "Old rows.")
    shown = text(root.get(page_of(release)))
    assert "The gate refused this version and was overridden</strong> by root." in shown
    assert "2 of 4 checks failed" in shown


def test_who_may_not_override_sees_the_report_and_no_way_around_it(
    model: MLModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = model.versions.get(number=2)
    stored_refusal(monkeypatch, version)
    bob = staff("view_mlmodel", "view_modelversion", "add_release")
    for fields in ({"reason": "better"}, {"reason": "better", "override": "I say so"}):
        page = text(bob.post(lever("promote", version), fields))
        assert "Only somebody who may override it can release it." in page
        assert "2 of 4 checks failed" in page
        assert 'name="override"' not in page
    assert Release.objects.count() == 1


def test_without_a_worker_the_gate_says_what_to_do(
    root: Client, model: MLModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "ABSENT_S", 0.2)
    page = text(root.post(lever("promote", model.versions.get(number=2)), {"reason": "better"}))
    assert "No worker is running, so animals@2 cannot be tried." in page
    assert Release.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "permission"),
    [("promote", "add_release"), ("evaluate", "add_evaluation"), ("replay", "add_evaluation")],
)
def test_a_lever_of_a_version_needs_its_permission(model: MLModel, name: str, permission: str) -> None:
    version = model.versions.get(number=2)
    address = lever(name, version)
    bob = staff("view_modelversion", "change_modelversion")
    assert address not in text(bob.get(page_of(version)))
    assert bob.get(address).status_code == 403
    assert bob.post(address, {"reason": "x", "last": "5"}).status_code == 403
    assert (Evaluation.objects.count(), Release.objects.count()) == (0, 1)
    User.objects.filter(username="bob").delete()
    bob = staff("view_modelversion", permission)
    assert address in text(bob.get(page_of(version)))
    text(bob.get(address))


def test_evaluating_asks_and_leads_to_the_evaluation(root: Client, model: MLModel) -> None:
    version = model.versions.get(number=1)
    assert f'href="{lever("evaluate", version)}">Evaluate the live version</a>' in text(root.get(page_of(model)))
    assert "Measure animals@1 on the rows held out" in text(root.get(lever("evaluate", version)))
    assert Evaluation.objects.count() == 0
    page = text(root.post(lever("evaluate", version), follow=True))
    made = Evaluation.objects.get()
    assert (made.version, made.purpose, made.owner.username) == (version, Purpose.EVALUATE, "root")
    assert "a worker is judging animals@1. This page follows it." in page


def test_a_replay_asks_how_many_and_writes_no_prediction(root: Client, model: MLModel) -> None:
    version = model.versions.get(number=1)
    for last in ("0", "10001", "all"):
        assert "errorlist" in text(root.post(lever("replay", version), {"last": last}))
    assert Evaluation.objects.count() == 0
    text(root.post(lever("replay", version), {"last": "7", "alone": "on"}, follow=True))
    made = Evaluation.objects.get()
    assert (made.purpose, made.options["last"], made.options["alone"]) == (Purpose.REPLAY, 7, True)
    assert version.predictions.count() == 0


def test_retraining_asks_and_leads_to_the_run(root: Client, model: MLModel) -> None:
    data = life.snapshot(model)
    assert f'href="{lever("retrain", model)}">Retrain</a>' in text(root.get(page_of(model)))
    page = text(root.get(lever("retrain", model)))
    assert "Train animals anew?" in page
    assert "500 rows, animals.csv (dddddddddddd)" in page
    fields = {"snapshot": str(data.pk), "seed": "7", "epochs": "30", "promote": "if-better", "reason": "new rows"}
    page = text(root.post(lever("retrain", model), fields, follow=True))
    run = TrainingRun.objects.get()
    assert (run.snapshot, run.seed, run.epochs, run.promote, run.reason) == (data, 7, 30, "if-better", "new rows")
    assert (run.owner.username, run.status) == ("root", "queued")
    assert "This page follows it." in page
    assert AuditEvent.objects.filter(action="model.train", actor__username="root").count() == 1


def test_a_second_training_at_the_same_time_is_refused_with_a_sentence(root: Client, model: MLModel) -> None:
    data = life.snapshot(model)
    life.training_run(data, "running")
    page = text(root.get(lever("retrain", model)))
    assert "animals is being trained already, since" in page
    page = text(root.post(lever("retrain", model), {"snapshot": str(data.pk), "seed": "7", "promote": "never"}))
    assert re.search(r'errorlist nonfield"[^>]*><li>animals is being trained already', page)
    assert TrainingRun.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", "-1"), ("seed", str(2**31)), ("epochs", "0"), ("promote", "perhaps"), ("snapshot", "x"), ("seed", "")],
)
def test_a_wrong_setting_of_a_training_is_named(root: Client, model: MLModel, field: str, value: str) -> None:
    fields = {"snapshot": str(life.snapshot(model).pk), "seed": "7", "promote": "never", field: value}
    page = text(root.post(lever("retrain", model), fields))
    assert f'id="id_{field}_error"' in page
    assert TrainingRun.objects.count() == 0


def test_data_of_another_model_cannot_be_chosen(root: Client, model: MLModel) -> None:
    life.snapshot(model)
    other = life.snapshot(registry.live_model("plants"))
    page = text(root.post(lever("retrain", model), {"snapshot": str(other.pk), "seed": "7", "promote": "never"}))
    assert 'id="id_snapshot_error"' in page
    assert TrainingRun.objects.count() == 0


def test_a_model_without_data_says_how_to_give_some(root: Client, model: MLModel) -> None:
    page = text(root.get(lever("retrain", model)))
    assert "manage.py retrain animals --data FILE.csv" in page
    assert (
        "<form method" not in page.replace('<form method="post" action="/accounts/logout', "").partition("content")[2]
    )
    root.post(lever("retrain", model), {"seed": "7", "promote": "never"})
    assert TrainingRun.objects.count() == 0


def test_training_needs_its_permission_and_promoting_another(model: MLModel) -> None:
    data = life.snapshot(model)
    fields = {"snapshot": str(data.pk), "seed": "7", "promote": "always"}
    bob = staff("view_mlmodel", "change_mlmodel", "add_release")
    assert bob.get(lever("retrain", model)).status_code == 403
    assert bob.post(lever("retrain", model), fields).status_code == 403
    assert "Retrain" not in text(bob.get(page_of(model)))
    User.objects.filter(username="bob").delete()
    bob = staff("view_mlmodel", "view_trainingrun", "add_trainingrun")
    page = text(bob.get(lever("retrain", model)))
    assert re.findall(r'<option value="(never|always|if-better)"', page) == [Promote.NEVER]
    assert 'id="id_promote_error"' in text(bob.post(lever("retrain", model), fields))
    assert TrainingRun.objects.count() == 0
    text(bob.post(lever("retrain", model), {**fields, "promote": "never"}, follow=True))
    assert TrainingRun.objects.get().promote == "never"


def test_a_run_can_be_canceled_after_a_question(root: Client, model: MLModel) -> None:
    run = life.training_run(life.snapshot(model), "running")
    assert f'href="{lever("cancel_training", run)}">Cancel the training</a>' in text(root.get(page_of(run)))
    assert "What it has learned so far is lost." in text(root.get(lever("cancel_training", run)))
    assert TrainingRun.objects.get().status == "running"
    assert "The training is canceled." in text(root.post(lever("cancel_training", run), follow=True))
    assert TrainingRun.objects.get().status == "canceled"
    assert lever("cancel_training", run) not in text(root.get(page_of(run)))
    assert "It has ended already." in text(root.get(lever("cancel_training", run)))
    assert "It had ended before" in text(root.post(lever("cancel_training", run), follow=True))


def test_canceling_needs_its_permission(model: MLModel) -> None:
    run = life.training_run(life.snapshot(model), "running")
    bob = staff("view_trainingrun", "add_trainingrun")
    assert lever("cancel_training", run) not in text(bob.get(page_of(run)))
    assert bob.get(lever("cancel_training", run)).status_code == 403
    assert bob.post(lever("cancel_training", run)).status_code == 403
    assert TrainingRun.objects.get().status == "running"


def saved(client: Client, model: MLModel, **fields: str) -> str:
    """What the model's page says after its form was saved with `fields`."""
    given = {"title": model.title, "description": model.description, "on_push": "release", **fields}
    return text(client.post(page_of(model), given, follow=True))


def test_thresholds_are_a_form_of_words_that_keeps_what_differs(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(model)))
    assert "Accuracy or R² may fall by" in page
    assert 'placeholder="0.01"' in page
    assert "R² must be at least" not in page  # it chooses a class
    assert "was changed successfully" in saved(root, model, gate_max_drop="0.05", gate_replay_last="50")
    model.refresh_from_db()
    assert model.gate == {"max_drop": 0.05, "replay_last": 50}
    assert 'value="0.05"' in text(root.get(page_of(model)))
    event = AuditEvent.objects.get(action="model.edit")
    assert (event.before["gate_max_drop"], event.after["gate_max_drop"]) == (None, "0.05")
    saved(root, model, gate_replay_last="50")
    model.refresh_from_db()
    assert model.gate == {"replay_last": 50}


def test_a_threshold_out_of_bounds_is_refused_at_its_field(root: Client, model: MLModel) -> None:
    page = saved(root, model, gate_max_drop="7", gate_replay_last="1.5")
    assert 'id="id_gate_max_drop_error"' in page
    assert 'id="id_gate_replay_last_error"' in page
    model.refresh_from_db()
    assert model.gate == {}


def test_a_threshold_of_the_other_task_is_kept_as_it_is(root: Client, model: MLModel) -> None:
    MLModel.objects.update(gate={"min_r2": 0.5})
    saved(root, model, gate_max_drop="0.05")
    model.refresh_from_db()
    assert model.gate == {"min_r2": 0.5, "max_drop": 0.05}


def test_who_may_not_override_the_gate_may_not_loosen_it(model: MLModel) -> None:
    MLModel.objects.update(gate={"max_drop": 0.02})
    bob = staff("view_mlmodel", "change_mlmodel")
    assert re.search(r'<input[^>]*name="gate_max_drop"[^>]*disabled', text(bob.get(page_of(model))))
    saved(bob, model, title="Beasts", gate_max_drop="1", gate_max_disagreement="1")
    model.refresh_from_db()
    assert (model.title, model.gate) == ("Beasts", {"max_drop": 0.02})


def test_saving_the_page_of_a_model_leaves_what_is_live_alone(
    root: Client, model: MLModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's release between reading and writing the form is not undone."""
    release = model.releases.create(number=2, version=model.versions.get(number=2), reason="meanwhile")
    save = MLModelAdmin.save_model

    def late(*args: Any) -> None:
        MLModel.objects.update(live_release=release)
        save(*args)

    monkeypatch.setattr(MLModelAdmin, "save_model", late)
    saved(root, model, title="Beasts")
    model.refresh_from_db()
    assert (model.title, model.live_release) == ("Beasts", release)
