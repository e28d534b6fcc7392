"""A delivery's rows: what a refusal takes away, what landing does once, what workers finish or forget."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from mlmodels import artifacts, deliveries, gate, registry, releases, runtime
from mlmodels.models import (
    Brought,
    Delivery,
    Evaluation,
    MLModel,
    ModelVersion,
    Release,
    State,
    VersionCheck,
    system_user,
)  # fmt: skip
from mlmodels.pushes import RefusedPush
from serving_site.accounts.models import AuditEvent
from serving_site.jobs.models import Status
from tests.mlmodels.conftest import edit

Stored = Callable[[], list[str]]
COMMIT = "c" * 40
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def branch(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    settings.MODEL_REPOSITORY = tmp_path / "nowhere.git"
    settings.PUSH_WAIT_S = 0.2


def register(folder: Path, **fields: Any) -> ModelVersion:
    edit(folder, **fields)
    version = registry.register(artifacts.take_folder(folder), by=None)
    VersionCheck.objects.all().delete()
    ModelVersion.objects.filter(pk=version.pk).update(state=State.HEALTHY)
    version.refresh_from_db()
    return version


def accepted(version: ModelVersion, commit: str = COMMIT, **fields: Any) -> Delivery:
    """As pre-receive leaves it: with a verdict that is taken again where the same is live."""
    now = timezone.now()
    live = MLModel.objects.get(pk=version.model_id).live_version
    evaluation = Evaluation.objects.create(
        version=version, against=live, purpose="gate", options={"thresholds": gate.thresholds(version.model)},
        report={"passed": True, "checks": [], "summary": "All is well."}, passed=True,
        owner=system_user(), status=Status.SUCCEEDED, created_at=now, completed_at=now,
    )  # fmt: skip
    return Delivery.objects.create(
        commit=commit, version=version, evaluation=evaluation, subject="Better", pushed_by="erin", **fields
    )


@pytest.fixture
def released(folder: Path, stored: Stored) -> ModelVersion:
    version = register(folder)
    release(version, 1)
    return version


def release(version: ModelVersion, number: int) -> None:
    made = Release.objects.create(model=version.model, number=number, version=version, reason="by hand")
    MLModel.objects.filter(pk=version.model_id).update(live_release=made)


def live() -> str:
    return str(MLModel.objects.get().live_version)


def test_a_push_that_no_worker_judges_leaves_only_an_audit_event(folder: Path, stored: Stored) -> None:
    lines: list[str] = []
    with pytest.raises(RefusedPush, match="No worker has answered within "):
        deliveries.receive(COMMIT, artifacts.take_folder(folder), pushed_by="erin", say=lines.append)
    assert lines[0].startswith("zoo-ok@1 is received")
    assert [table.objects.count() for table in (MLModel, ModelVersion, VersionCheck, Delivery)] == [0, 0, 0, 0]
    assert stored() == []
    event = AuditEvent.objects.get(action="push.refused")
    assert (event.target, event.after["pushed_by"]) == ("push cccccccccccc", "erin")
    assert event.after["reason"].startswith("zoo-ok@1: No worker has answered")


def test_a_push_that_is_interrupted_leaves_nothing_either(folder: Path, stored: Stored) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        deliveries.receive(COMMIT, artifacts.take_folder(folder), pushed_by="erin", say=gone)
    assert (MLModel.objects.count(), Delivery.objects.count(), stored()) == (0, 0, [])


def test_a_refusal_takes_away_nothing_that_was_there_before(
    released: ModelVersion, folder: Path, stored: Stored
) -> None:
    files = stored()
    artifact = artifacts.take_folder(folder)
    ModelVersion.objects.update(state=State.QUARANTINED)  # so that the push has it checked again
    with pytest.raises(RefusedPush):
        deliveries.receive(COMMIT, artifact, pushed_by="erin")
    assert (ModelVersion.objects.get().pk, stored(), Delivery.objects.count()) == (released.pk, files, 0)


def test_a_version_that_its_check_refused_after_the_hook_was_killed_is_judged_anew(
    folder: Path, stored: Stored
) -> None:
    version = register(folder)
    ModelVersion.objects.update(state=State.REFUSED)
    Delivery.objects.create(commit=COMMIT, version=version, brought=Brought.MODEL)
    with pytest.raises(RefusedPush, match="No worker"):
        deliveries.receive(COMMIT, artifacts.take_folder(folder), pushed_by="erin")
    assert (MLModel.objects.count(), ModelVersion.objects.count(), stored()) == (0, 0, [])


def test_an_amended_commit_answers_for_what_a_killed_hook_left(folder: Path, stored: Stored) -> None:
    version = register(folder)
    Delivery.objects.create(commit="d" * 40, version=version, brought=Brought.MODEL)
    ModelVersion.objects.update(state=State.QUARANTINED)  # so that it waits for a worker
    with pytest.raises(RefusedPush, match="No worker"):
        deliveries.receive(COMMIT, artifacts.take_folder(folder), pushed_by="erin")
    assert (MLModel.objects.count(), Delivery.objects.count(), stored()) == (0, 0, [])


def test_pushing_what_is_live_changes_nothing(released: ModelVersion, folder: Path) -> None:
    delivery = deliveries.receive(COMMIT, artifacts.take_folder(folder), pushed_by="erin")
    landed = deliveries.land(COMMIT)
    assert (delivery.brought, landed.outcome) == (Brought.NOTHING, "zoo-ok@1 is live already.")
    assert (Release.objects.count(), landed.release and landed.release.number) == (1, 1)


def test_landing_releases_once_however_often_it_is_asked(released: ModelVersion, folder: Path) -> None:
    accepted(register(folder, title="Another"))
    outcomes = {deliveries.land(COMMIT).outcome for _ in range(3)}
    deliveries.finish_landed()
    (outcome,) = outcomes
    assert outcome.startswith("zoo-ok@2 is live as release 2: http")
    assert list(Release.objects.order_by("number").values_list("version__number", "reason")) == [
        (1, "by hand"), (2, "Better")
    ]  # fmt: skip


def test_a_release_whose_hook_died_right_after_it_is_not_made_again_after_a_rollback(
    released: ModelVersion, folder: Path
) -> None:
    version = register(folder, title="Another")
    accepted(version, landed_at=timezone.now())
    release(version, 2)  # and then the hook was killed
    release(released, 3)
    deliveries.finish_landed()
    delivery = Delivery.objects.get()
    assert (live(), Release.objects.count(), delivery.release and delivery.release.number) == ("zoo-ok@1", 3, 2)


def test_the_earlier_files_pushed_again_are_released_again(released: ModelVersion, folder: Path) -> None:
    release(register(folder, title="Another"), 2)
    accepted(released)
    assert deliveries.land(COMMIT).outcome.startswith("zoo-ok@1 is live as release 3: ")


def test_a_race_that_is_lost_is_run_again(released: ModelVersion, folder: Path) -> None:
    accepted(register(folder, title="Another"))
    MLModel.objects.update(next_version=released, next_at=timezone.now())  # somebody else's
    assert deliveries.land(COMMIT).done_at is None
    MLModel.objects.update(next_version=None)
    deliveries.finish_landed()
    assert live() == "zoo-ok@2"


def test_a_verdict_about_another_live_version_is_made_anew_and_without_a_worker_it_waits(
    released: ModelVersion, folder: Path
) -> None:
    accepted(register(folder, title="Another"))
    release(register(folder, title="Somebody else's"), 2)
    assert deliveries.land(COMMIT).done_at is None
    assert live() == "zoo-ok@3"


def test_a_promotion_that_died_half_way_holds_nothing_up_for_long(released: ModelVersion, folder: Path) -> None:
    version = register(folder, title="Another")
    accepted(version, landed_at=timezone.now())
    ago = timezone.now() - datetime.timedelta(seconds=2 * releases.WARM_S)
    MLModel.objects.update(next_version=version, next_at=ago)
    deliveries.finish_landed()
    assert live() == "zoo-ok@2"


def test_a_version_that_may_not_go_live_any_more_stays_a_candidate_and_says_why(
    released: ModelVersion, folder: Path
) -> None:
    version = register(folder, title="Another")
    accepted(version)
    ModelVersion.objects.filter(pk=version.pk).update(state=State.QUARANTINED, state_reason="It died.")
    outcome = deliveries.land(COMMIT).outcome
    assert outcome.startswith("zoo-ok@2 is not live. zoo-ok@2 is quarantined: It died.")
    assert outcome.endswith("To release it: manage.py promote zoo-ok 2 --reason '…'")
    assert live() == "zoo-ok@1"


def test_what_was_accepted_and_has_not_landed_is_left_alone(released: ModelVersion, folder: Path) -> None:
    accepted(register(folder, title="Another"), brought=Brought.VERSION)
    deliveries.finish_landed()
    Delivery.objects.update(created_at=timezone.now() - datetime.timedelta(days=9))
    deliveries.finish_landed()
    assert (live(), Delivery.objects.get().done_at) == ("zoo-ok@1", None)


def test_what_a_killed_hook_never_finished_judging_goes_after_an_hour(
    folder: Path, stored: Stored, released: ModelVersion
) -> None:
    files = stored()
    Delivery.objects.create(commit=COMMIT, version=register(folder, title="Another"), brought=Brought.VERSION)
    deliveries.finish_landed()
    assert ModelVersion.objects.count() == 2
    Delivery.objects.update(created_at=timezone.now() - datetime.timedelta(hours=2))
    deliveries.finish_landed()
    assert (ModelVersion.objects.count(), Delivery.objects.count(), stored()) == (1, 0, files)


def test_a_worker_forgets_the_files_of_what_was_withdrawn(released: ModelVersion, tmp_path: Path) -> None:
    cache = runtime.ArtifactCache(tmp_path / "cache")
    used = [cache.path(name) for name in (released.manifest_sha256, released.weights_sha256)]
    (tmp_path / "cache" / ("0" * 64)).touch()
    (tmp_path / "cache" / f".{'1' * 64}.draft").touch()
    cache.forget_unused()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(
        [f".{'1' * 64}.draft", *(path.name for path in used)]
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Better\x1b[31m on\u202e pens\0", "Better [31m on pens"),
        ("  two\tthree\nfour ", "two three four"),
        ("x" * 300, "x" * 199 + "…"),
        ("Größer, 更好", "Größer, 更好"),
        ("\x00\x1b", ""),
    ],
)
def test_a_subject_is_one_plain_line(text: str, shown: str) -> None:
    assert deliveries.plain(text) == shown
