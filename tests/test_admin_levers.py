"""The levers of a model's life: each asks, needs its permission, acts through the one function, and shows a refusal."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from mlmodels import evaluations
from mlmodels.admin.models import MLModelAdmin
from mlmodels.models import Evaluation, MLModel, ModelVersion, Purpose, Release
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
