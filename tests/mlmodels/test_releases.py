"""What is live, and the only ways to change it; on SQLite and PostgreSQL."""

import datetime
import itertools
import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from mlmodels import releases
from mlmodels.models import Evaluation, MLModel, ModelVersion, Release, State
from predictions.models import Prediction
from serving_site.accounts.models import AuditEvent, User
from serving_site.jobs import sql, submit
from serving_site.jobs.models import Worker
from tests import zoo
from tests.registry import passed_gate

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def model(engine: str) -> MLModel:
    return MLModel.objects.create(slug="zoo", title="Zoo", task="classification")


@pytest.fixture
def alice(engine: str) -> User:
    return User.objects.create_user("alice", "alice@example.org")


def version(model: MLModel, state: str = State.HEALTHY, **signature: Any) -> ModelVersion:
    """The model's next version."""
    number = model.versions.count() + 1
    manifest = zoo.manifest("ok", {}, b"weights")
    manifest["signature"]["input"]["properties"]["x"] |= signature
    return ModelVersion.objects.create(
        model=model,
        number=number,
        state=state,
        manifest=manifest,
        manifest_sha256=f"{number:064x}",
        weights_sha256="b" * 64,
        artifact_bytes=1,
    )


def promoted(model: MLModel, one: ModelVersion, **options: Any) -> Release:
    passed_gate(one)
    return releases.promote(model, one, **{"by": None, "reason": "it is better", **options})


def live(model: MLModel) -> str:
    model = MLModel.objects.select_related("live_release__version__model").get(pk=model.pk)
    assert model.next_version is None
    return str(model.live_version)


def queued(owner: User, one: ModelVersion, *, pinned: bool = False) -> Prediction:
    prediction = Prediction(owner=owner, model=one.model, version=one, inputs=[{"x": 1.0}], pinned=pinned)
    submit.submit(prediction)
    return prediction


def row(prediction: Prediction) -> tuple[str, str, str]:
    found = Prediction.objects.select_related("version__model").get(pk=prediction.pk)
    return str(found.version), found.status, found.reason_code


def test_promotions_are_numbered_and_say_who_when_and_why(model: MLModel, alice: User) -> None:
    one, two = version(model), version(model)
    before = timezone.now() - datetime.timedelta(seconds=1)
    first = promoted(model, one, by=alice, reason="  the first  ")
    second = promoted(model, two)
    assert [(r.number, str(r.version), r.by, r.reason) for r in (first, second)] == [
        (1, "zoo@1", alice, "the first"),
        (2, "zoo@2", None, "it is better"),
    ]
    verdict = Evaluation.objects.get(version=two)
    assert second.evidence == {"evaluation": str(verdict.pk), "gate": "passed", **verdict.report}
    assert before < first.at <= second.at
    assert live(model) == "zoo@2"
    assert [(e.actor, e.action, e.target, e.before, e.after) for e in AuditEvent.objects.order_by("id")] == [
        (alice, "model.release", "zoo", {"version": None}, {"version": "zoo@1", "release": 1, "reason": "the first"}),
        (
            None,
            "model.release",
            "zoo",
            {"version": "zoo@1"},
            {"version": "zoo@2", "release": 2, "reason": "it is better"},
        ),
    ]


def test_what_was_live_at_a_time_is_one_query(model: MLModel) -> None:
    first = promoted(model, version(model))
    second = promoted(model, version(model))
    assert releases.live_at(model) == second
    assert releases.live_at(model, second.at - datetime.timedelta(microseconds=1)) == first
    assert releases.live_at(model, first.at - datetime.timedelta(microseconds=1)) is None


def test_rollback_is_a_new_release_of_what_was_live_before(model: MLModel, alice: User) -> None:
    one, two = version(model), version(model)
    promoted(model, one)
    promoted(model, two)
    back = releases.rollback(model, by=alice, reason="worse on photos")
    assert (back.number, back.version, back.by, back.evidence) == (
        3, one, alice, {"rollback_of": 2, "gate": "passed before release 1"}
    )  # fmt: skip
    assert live(model) == "zoo@1"


def test_rollback_again_goes_one_further_back_and_then_ends(model: MLModel) -> None:
    one, two, three = version(model), version(model), version(model)
    for each in (one, two, three):
        promoted(model, each)
    assert releases.rollback(model, by=None, reason="worse").version == two
    assert releases.rollback(model, by=None, reason="worse still").version == one
    with pytest.raises(releases.NotReleasable, match="no earlier healthy version"):
        releases.rollback(model, by=None, reason="worse than ever")
    assert live(model) == "zoo@1"


def test_a_version_that_is_quarantined_after_a_rollback_gives_way_to_the_one_before_it(model: MLModel) -> None:
    one, two, three = version(model), version(model), version(model)
    for each in (one, two, three):
        promoted(model, each)
    releases.rollback(model, by=None, reason="worse")
    releases.quarantine(two, "its file is missing")
    assert live(model) == "zoo@1"


def test_rollback_passes_over_a_version_that_is_not_healthy(model: MLModel) -> None:
    one, two, three = version(model), version(model), version(model)
    for each in (one, two, three):
        promoted(model, each)
    ModelVersion.objects.filter(pk=two.pk).update(state=State.QUARANTINED)
    assert releases.rollback(model, by=None, reason="worse").version == one


def test_rollback_with_nothing_to_go_back_to_is_refused(model: MLModel) -> None:
    with pytest.raises(releases.NotReleasable, match=r"^zoo has no earlier healthy version to go back to.$"):
        releases.rollback(model, by=None, reason="worse")
    promoted(model, version(model))
    with pytest.raises(releases.NotReleasable, match="no earlier healthy version"):
        releases.rollback(model, by=None, reason="worse")
    assert live(model) == "zoo@1"


@pytest.mark.parametrize("state", [State.CHECKING, State.REFUSED, State.QUARANTINED])
def test_only_a_healthy_version_goes_live(model: MLModel, state: str) -> None:
    one = version(model, state)
    ModelVersion.objects.update(state_reason="its file is missing")
    with pytest.raises(releases.NotReleasable, match=f"^zoo@1 is {state}: its file is missing. Only a healthy version"):
        promoted(model, one)
    assert (live(model), Release.objects.count(), AuditEvent.objects.count()) == ("None", 0, 0)


def test_another_models_version_is_refused(model: MLModel) -> None:
    other = MLModel.objects.create(slug="other", title="Other", task="classification")
    with pytest.raises(releases.NotReleasable, match=r"^other@1 is not a version of zoo.$"):
        promoted(model, version(other))


@pytest.mark.parametrize("reason", ["", "  \n "])
def test_a_release_needs_a_reason(model: MLModel, reason: str) -> None:
    with pytest.raises(releases.NotReleasable, match=r"^Give a reason: it is kept with the release.$"):
        promoted(model, version(model), reason=reason)


def test_what_is_live_already_is_not_released_again(model: MLModel) -> None:
    one = version(model)
    promoted(model, one)
    with pytest.raises(releases.NotReleasable, match=r"^zoo@1 is live already.$"):
        promoted(model, one)


def test_of_twenty_promotions_at_once_one_wins_per_number_and_the_others_are_told(model: MLModel) -> None:
    promoted(model, version(model))
    versions = [version(model) for _ in range(20)]
    for one, live_one in itertools.permutations(model.versions.all(), 2):
        passed_gate(one, live_one)
    start = threading.Barrier(len(versions))
    won: list[Release] = []
    told: list[str] = []

    def promote(one: ModelVersion) -> None:
        try:
            start.wait(10)
            won.append(releases.promote(model, one, by=None, reason="it is better"))
        except releases.LostRace as error:
            told.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=promote, args=[one]) for one in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(won) + len(told) == 20
    assert won
    assert sorted(release.number for release in won) == list(range(2, len(won) + 2))
    last = max(won, key=lambda release: release.number)
    assert live(model) == str(last.version)
    for sentence in told:
        assert sentence.startswith(("Another release of zoo is under way.", "zoo changed meanwhile: zoo@"))
    events = AuditEvent.objects.filter(action="model.release")
    assert sorted(event.after["release"] for event in events) == list(range(1, len(won) + 2))


def test_a_release_is_refused_while_another_is_announced(model: MLModel) -> None:
    one, two = version(model), version(model)
    MLModel.objects.update(next_version=two, next_at=timezone.now() - datetime.timedelta(seconds=50))
    with pytest.raises(releases.LostRace, match=r"^Another release of zoo is under way. Look what it brings, then try"):
        promoted(model, one)
    assert MLModel.objects.get().next_version == two


def test_an_announcement_that_a_crash_left_behind_is_overwritten_after_a_minute(model: MLModel) -> None:
    one, two = version(model), version(model)
    MLModel.objects.update(next_version=two, next_at=timezone.now() - datetime.timedelta(seconds=61))
    promoted(model, one)
    assert live(model) == "zoo@1"


def test_no_sql_changes_a_release(model: MLModel, engine: str) -> None:
    promoted(model, version(model))
    writes = ["UPDATE mlmodels_release SET reason = 'x'"]
    if engine == "postgres":  # on SQLite the tests themselves empty tables by deleting rows
        MLModel.objects.update(live_release=None)
        writes.append("DELETE FROM mlmodels_release")
    for write in writes:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(write)
    assert Release.objects.get().reason == "it is better"


def test_without_its_audit_event_a_release_does_not_happen(model: MLModel) -> None:
    promoted(model, version(model))
    two = version(model)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_auditevent RENAME TO elsewhere")
    with pytest.raises(DatabaseError):
        promoted(model, two)
    assert (live(model), Release.objects.count()) == ("zoo@1", 1)


def test_a_promotion_waits_for_living_workers_to_hold_the_version(model: MLModel) -> None:
    one = version(model)
    now = sql.now()
    about = {"host": "here", "pid": 1, "slots": 1, "started_at": now}
    worker = Worker.objects.create(seen_at=now, info={"loaded": []}, **about)
    Worker.objects.create(seen_at=now - datetime.timedelta(seconds=11), info={"loaded": []}, **about)  # dead

    def warm_later() -> None:
        Worker.objects.filter(pk=worker.pk).update(info={"loaded": [str(one.pk)]})
        connection.close()

    timer = threading.Timer(0.5, warm_later)
    timer.start()
    assert promoted(model, one).number == 1
    assert timer.finished.is_set()
    timer.join()


def test_a_worker_that_never_warms_delays_a_promotion_only_so_long(model: MLModel) -> None:
    now = sql.now()
    Worker.objects.create(host="here", pid=1, slots=1, started_at=now, seen_at=now, info={"loaded": []})
    assert promoted(model, version(model), warm_s=0.3).number == 1


def test_a_version_that_is_quarantined_while_it_warms_does_not_go_live(model: MLModel) -> None:
    one, two = version(model), version(model)
    promoted(model, one)
    now = sql.now()
    Worker.objects.create(host="here", pid=1, slots=1, started_at=now, seen_at=now, info={"loaded": []})

    def quarantine() -> None:
        releases.quarantine(two, "its file is corrupt")
        connection.close()

    timer = threading.Timer(0.3, quarantine)
    timer.start()
    with pytest.raises(releases.NotReleasable, match=r"^zoo@2 is quarantined: its file is corrupt."):
        promoted(model, two, warm_s=5)
    timer.join()
    assert live(model) == "zoo@1"


def test_rollback_moves_queued_rows_except_those_whose_caller_named_the_version(model: MLModel, alice: User) -> None:
    one, two = version(model), version(model)
    promoted(model, one)
    promoted(model, two)
    free, pinned = queued(alice, two), queued(alice, two, pinned=True)
    back = releases.rollback(model, by=None, reason="worse")
    assert row(free) == ("zoo@1", "queued", "")
    assert Prediction.objects.get(pk=free.pk).release == back
    assert row(pinned) == ("zoo@2", "queued", "")


def test_a_promotion_moves_no_queued_row(model: MLModel, alice: User) -> None:
    one, two = version(model), version(model)
    promoted(model, one)
    waiting = queued(alice, one)
    promoted(model, two)
    assert row(waiting) == ("zoo@1", "queued", "")


def test_quarantine_releases_the_previous_healthy_version_and_moves_queued_rows(model: MLModel, alice: User) -> None:
    one, two = version(model), version(model)
    promoted(model, one)
    promoted(model, two)
    free, pinned = queued(alice, two), queued(alice, two, pinned=True)
    assert releases.quarantine(two, "its file is corrupt")
    assert not releases.quarantine(two, "its file is corrupt")
    assert live(model) == "zoo@1"
    release = Release.objects.get(number=3)
    assert (release.by, release.reason) == (None, "zoo@2 was quarantined: its file is corrupt")
    assert row(free) == ("zoo@1", "queued", "")
    assert row(pinned) == ("zoo@2", "failed", "model_unavailable")
    actions = list(AuditEvent.objects.order_by("id").values_list("action", "target"))
    assert actions[2:] == [("version.quarantine", "zoo@2"), ("model.release", "zoo")]


def test_quarantine_fails_queued_rows_that_no_other_version_fits(model: MLModel, alice: User) -> None:
    one, two = version(model, maximum=5.0), version(model)
    promoted(model, one)
    promoted(model, two)
    free = queued(alice, two)
    releases.quarantine(two, "its file is corrupt")
    assert row(free) == ("zoo@2", "failed", "model_unavailable")
    error = Prediction.objects.get(pk=free.pk).error
    assert error == "Version 2 of Zoo was taken out of service and no other version fits this input."
    assert live(model) == "zoo@1"


def test_quarantine_with_nothing_to_go_back_to_leaves_the_model_out_of_service(model: MLModel, alice: User) -> None:
    promoted(model, version(model))
    one = model.versions.get()
    free = queued(alice, one)
    releases.quarantine(one, "its file is missing")
    assert row(free) == ("zoo@1", "failed", "model_unavailable")
    model = MLModel.objects.get()
    with pytest.raises(releases.Unavailable, match=r"^Zoo is out of service: its live version failed a check."):
        releases.version_for(model, alice)


def test_rows_that_come_late_to_a_quarantined_version_follow_the_others(model: MLModel, alice: User) -> None:
    one, two = version(model), version(model)
    promoted(model, one)
    promoted(model, two)
    releases.quarantine(two, "its file is corrupt")
    late = queued(alice, two)
    releases.evacuate_unhealthy(two)
    assert row(late) == ("zoo@1", "queued", "")


def test_a_model_without_a_release_cannot_answer(model: MLModel, alice: User) -> None:
    with pytest.raises(releases.Unavailable, match=r"^Zoo has no live version yet. An operator has to release one.$"):
        releases.version_for(model, alice)
