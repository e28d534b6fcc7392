"""What operators see and do: every page, the levers with their questions, and what is refused."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mlmodels import releases
from mlmodels.models import MLModel, ModelVersion, Release, State
from predictions import uploads
from predictions.models import Prediction
from serving_site.accounts.models import AuditEvent, User, audit
from serving_site.jobs import sql
from serving_site.jobs.models import Worker, count
from tests import registry

pytestmark = pytest.mark.django_db
Chosen = Callable[..., Any]


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.org"))
    return client


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", "alice@example.org")


@pytest.fixture
def model(alice: User) -> MLModel:
    """A model that has seen something: versions in every state, two releases, predictions, workers, events."""
    model = registry.live_model("animals")
    first = model.versions.get()
    for number, state in enumerate([State.HEALTHY, State.REFUSED, State.CHECKING, State.QUARANTINED], start=2):
        ModelVersion.objects.create(
            model=model, number=number, state=state, state_reason="" if state == State.HEALTHY else "A <b>reason</b>.",
            manifest=first.manifest, manifest_sha256=f"{number:064x}", weights_sha256="b" * 64, artifact_bytes=2**21,
        )  # fmt: skip
    registry.passed_gate(model.versions.get(number=2))
    releases.promote(model, model.versions.get(number=2), by=alice, reason="better", warm_s=0)
    model.refresh_from_db()
    for status in ("queued", "running", "succeeded", "failed", "canceled"):
        registry.prediction(
            alice, model, status, **({"error": "Too slow.", "reason_code": "timeout"} if status == "failed" else {})
        )
    loaded = [str(version.pk) for version in model.versions.all()]
    now = sql.now()
    about = {"host": "here", "pid": 7, "slots": 2, "queues": ["infer.v1", "check.v1"], "started_at": now}
    Worker.objects.create(seen_at=now, info={"sandbox": "base", "loaded": loaded}, **about)
    Worker.objects.create(seen_at=now.replace(year=2020), **about)
    count("leases_recovered", 3)
    model.groups.add(Group.objects.create(name="vets"))
    return model


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return re.sub(r"\s+", " ", answer.content.decode())


LISTS = [
    "accounts_user", "accounts_auditevent", "auth_group", "jobs_worker", "mlmodels_mlmodel", "mlmodels_modelversion",
    "mlmodels_release", "predictions_prediction",
]  # fmt: skip


def test_every_list_and_every_row_of_it_can_be_read(root: Client, model: MLModel) -> None:
    index = text(root.get(reverse("admin:index")))
    for name in LISTS:
        path = reverse(f"admin:{name}_changelist")
        assert f'href="{path}"' in index
        page = text(root.get(path))
        rows = set(re.findall(rf'href="({path}[0-9a-f-]+/change/)', page))
        assert name == "jobs_worker" or rows, name
        for row in rows:
            text(root.get(row))
    for path in (reverse("admin:accounts_user_add"), reverse("admin:mlmodels_upload"), reverse("admin:auth_group_add")):
        text(root.get(path))
    assert not any("django_dramatiq" in link for link in re.findall(r'href="(/admin/[^"]*)"', index))


@pytest.mark.parametrize("name", LISTS)
def test_lists_can_be_searched_filtered_and_sorted(root: Client, model: MLModel, name: str) -> None:
    path = reverse(f"admin:{name}_changelist")
    for query in ("?q=animals", "?q=0", "?o=1", "?o=-2", "?p=1"):
        text(root.get(path + query, follow=True))
    for link in set(re.findall(r'href="(\?[^"]+)"', root.get(path).content.decode())):
        text(root.get(path + link.replace("&amp;", "&"), follow=True))


def test_a_list_costs_as_many_queries_with_many_rows_as_with_few(root: Client, model: MLModel, alice: User) -> None:
    def cost(name: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            root.get(reverse(f"admin:{name}_changelist"))
        return len(queries)

    cost(LISTS[0])
    few = {name: cost(name) for name in LISTS}
    for _ in range(10):
        registry.prediction(alice, model)
    assert {name: cost(name) for name in LISTS} == few


def test_the_list_of_models_says_in_red_that_a_version_is_quarantined(root: Client, model: MLModel) -> None:
    page = text(root.get(reverse("admin:mlmodels_mlmodel_changelist")))
    assert '<strong class="state-bad">version 5 is quarantined: A &lt;b&gt;reason&lt;/b&gt;.</strong>' in page
    ModelVersion.objects.filter(number=2).update(state=State.QUARANTINED, state_reason="Its file is missing.")
    page = text(root.get(reverse("admin:mlmodels_mlmodel_changelist")))
    assert '<strong class="state-bad">out of service: Its file is missing.</strong>' in page


def test_the_list_of_workers_says_who_is_alive_and_what_waits(root: Client, model: MLModel) -> None:
    page = text(root.get(reverse("admin:jobs_worker_changelist")))
    assert '<span class="state-good">alive</span>' in page
    assert '<strong class="state-bad">silent for' in page
    assert "leases_recovered: 3" in page
    assert '<th scope="row">infer.v1</th> <td>1</td> <td>1</td>' in page


def release_page(version: ModelVersion) -> str:
    return reverse("admin:mlmodels_promote", args=[version.pk])


def test_promote_asks_wants_a_reason_and_releases(root: Client, model: MLModel) -> None:
    first = model.versions.get(number=1)
    assert "Make animals@1 live? animals@2 answers now." in text(root.get(release_page(first)))
    for reason in ("", "   "):
        assert "This field is required." in text(root.post(release_page(first), {"reason": reason}))
    assert Release.objects.count() == 2
    registry.passed_gate(first)
    page = text(root.post(release_page(first), {"reason": "calmer"}, follow=True))
    assert "Live now: animals@1, release 3." in page
    release = Release.objects.get(number=3)
    assert (release.version, release.by, release.reason) == (first, User.objects.get(username="root"), "calmer")
    event = AuditEvent.objects.filter(action="model.release").latest("at")
    assert (event.actor, event.ip) == (release.by, "127.0.0.1")
    assert len(event.request_id) >= 32


def test_what_cannot_be_released_has_no_button_and_a_post_is_refused(root: Client, model: MLModel) -> None:
    for version in model.versions.exclude(state=State.HEALTHY):
        page = reverse("admin:mlmodels_modelversion_change", args=[version.pk])
        assert "Only a healthy version can go live." in text(root.get(page))
        root.post(release_page(version), {"reason": "calmer"})
    live = model.versions.get(number=2)
    assert "animals@2 is live already." in text(root.post(release_page(live), {"reason": "again"}))
    assert Release.objects.count() == 2
    assert root.get(reverse("admin:mlmodels_promote", args=[model.pk])).status_code == 404


def test_roll_back_asks_wants_a_reason_and_goes_back(root: Client, model: MLModel) -> None:
    page = reverse("admin:mlmodels_rollback", args=[model.pk])
    assert "Make animals@1 live again?" in text(root.get(page))
    assert "This field is required." in text(root.post(page, {"reason": ""}))
    assert "Live now: animals@1, release 3." in text(root.post(page, {"reason": "worse"}, follow=True))
    other = registry.live_model("plants")
    page = reverse("admin:mlmodels_rollback", args=[other.pk])
    assert "There is no earlier healthy version to go back to." in text(root.get(page))
    root.post(page, {"reason": "worse"})
    assert other.releases.count() == 1


def test_the_description_of_a_model_can_be_edited_and_the_change_is_on_record(root: Client, model: MLModel) -> None:
    page = reverse("admin:mlmodels_mlmodel_change", args=[model.pk])
    group = Group.objects.get()
    fields = {"title": "Beasts", "description": model.description, "task": "regression", "on_push": "release"}
    root.post(page, {**fields, "groups": []})
    model.refresh_from_db()
    assert (model.title, model.task, model.slug, model.groups.count()) == ("Beasts", "classification", "animals", 0)
    event = AuditEvent.objects.get(action="model.edit")
    assert event.before == {"title": "Animals", "groups": [group.name]}
    assert event.after == {"title": "Beasts", "groups": []}


def test_send_again_asks_first_and_makes_new_predictions_of_their_owner(
    root: Client, model: MLModel, alice: User
) -> None:
    page = reverse("admin:predictions_prediction_changelist")
    failed = Prediction.objects.get(status="failed")
    chosen = {"action": "send_again", "_selected_action": [str(failed.pk)]}
    assert "Send 1 prediction again, each as a new one of its owner?" in text(root.post(page, chosen))
    assert Prediction.objects.count() == 5
    assert "1 sent again." in text(root.post(page, {**chosen, "confirmed": "1"}, follow=True))
    again = Prediction.objects.latest("id")
    assert (again.owner, again.status, again.inputs, str(again.version)) == (
        alice,
        "queued",
        failed.inputs,
        "animals@2",
    )
    failed.refresh_from_db()
    assert failed.status == "failed"
    event = AuditEvent.objects.get(action="prediction.send_again")
    assert (event.target, event.after) == (str(failed), {"new": str(again.pk)})


def test_send_again_says_what_cannot_be_sent(root: Client, model: MLModel, alice: User) -> None:
    pictures = registry.live_model("pictures", registry.picture_signature())
    gone = registry.prediction(alice, pictures, inputs=[{"image": {"upload": "01a20000-0000-7000-8000-000000000000"}}])
    plants = registry.live_model("plants", state=State.QUARANTINED)
    page = reverse("admin:predictions_prediction_changelist")
    keys = [str(gone.pk), str(registry.prediction(alice, plants).pk)]
    chosen = {"action": "send_again", "_selected_action": keys, "confirmed": "1"}
    said = text(root.post(page, chosen, follow=True))
    assert "A picture of this prediction is gone; choose it anew." in said
    assert "Plants is out of service" in said
    assert "0 sent again." in said


def test_send_again_copies_the_picture(root: Client, alice: User) -> None:
    from django.core.files.base import ContentFile

    pictures = registry.live_model("pictures", registry.picture_signature())
    upload = uploads.store(alice.pk, ContentFile(registry.png()), "image/png", "cat.png")
    first = registry.prediction(alice, pictures, inputs=[{"image": {"upload": str(upload.pk)}}])
    page = reverse("admin:predictions_prediction_changelist")
    root.post(page, {"action": "send_again", "_selected_action": [str(first.pk)], "confirmed": "1"})
    again = Prediction.objects.latest("id")
    assert again.inputs[0]["image"]["upload"] != str(upload.pk)
    assert Prediction.objects.count() == 2


def invite(client: Client) -> Any:
    fields = {"username": "carol", "email": "carol@example.org"}
    return client.post(reverse("admin:accounts_user_add"), fields, follow=True)


@pytest.mark.django_db(transaction=True)
def test_a_new_person_gets_a_link_to_choose_a_password(root: Client) -> None:
    assert "A link to set a password was sent to carol@example.org." in text(invite(root))
    carol = User.objects.get(username="carol")
    assert not carol.has_usable_password()
    assert (carol.is_staff, carol.is_superuser) == (False, False)
    (message,) = mail.outbox
    assert message.to == ["carol@example.org"]
    (link,) = re.findall(r"https?://[^/]+(/\S+)", str(message.body))[-1:]
    person = Client()
    form = person.get(link, follow=True)
    password = "a-long-password-of-carol"
    answer = person.post(form.request["PATH_INFO"], {"new_password1": password, "new_password2": password}, follow=True)
    assert answer.status_code == 200
    assert Client().login(username="carol", password=password)
    assert AuditEvent.objects.get(action="user.add").target == "carol"
    used = Client().get(link, follow=True)
    assert "new_password1" not in used.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_mail_server_that_is_away_is_said_and_the_link_can_be_sent_later(root: Client, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert "The e-mail to carol@example.org could not be sent" in text(invite(root))
    carol = User.objects.get(username="carol")
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    page = reverse("admin:accounts_user_changelist")
    said = text(root.post(page, {"action": "invite_again", "_selected_action": [str(carol.pk)]}, follow=True))
    assert "A link to set a password was sent to carol@example.org." in said
    assert [message.to for message in mail.outbox] == [["carol@example.org"]]


def test_two_people_cannot_have_one_address(root: Client, alice: User) -> None:
    page = reverse("admin:accounts_user_add")
    answer = root.post(page, {"username": "other", "email": alice.email})
    assert "User with this E-mail address already exists." in text(answer)
    assert not mail.outbox


def test_changes_of_a_person_are_on_record_and_nobody_is_deleted(root: Client, alice: User) -> None:
    page = reverse("admin:accounts_user_change", args=[alice.pk])
    form = root.get(page).context["adminform"].form
    values = {name: "" if value is None else value for name, value in form.initial.items() if name != "is_active"}
    for name in ("date_joined", "last_login"):
        values.pop(name)
        values[f"{name}_0"], values[f"{name}_1"] = "2026-01-01", "12:00:00"
    root.post(page, {**values, "is_staff": "on"})
    alice.refresh_from_db()
    assert (alice.is_staff, alice.is_active) == (True, False)
    event = AuditEvent.objects.get(action="user.edit")
    assert (event.before["is_staff"], event.after["is_staff"]) == (False, True)
    root.post(
        reverse("admin:auth_user_password_change", args=[alice.pk]),
        {"password1": "x" * 20 + "y", "password2": "x" * 20 + "y"},
    )
    assert AuditEvent.objects.filter(action="user.password", target="alice").count() == 1
    assert root.post(reverse("admin:accounts_user_delete", args=[alice.pk]), {"post": "yes"}).status_code == 403
    actions = root.get(reverse("admin:accounts_user_changelist")).content.decode()
    assert "delete_selected" not in actions


READ_ONLY = ["accounts_auditevent", "mlmodels_modelversion", "mlmodels_release", "predictions_prediction"]


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_logbook_cannot_be_written_by_post(root: Client, model: MLModel, name: str) -> None:
    audit(None, "test", "x")
    page = reverse(f"admin:{name}_changelist")
    (row, *_) = re.findall(rf'href="({page}[0-9a-f-]+/change/)', root.get(page).content.decode())
    tables = (AuditEvent, ModelVersion, Release, Prediction)
    before = [list(table.objects.order_by("pk").values()) for table in tables]
    fields = {"reason": "x", "state": "healthy", "status": "queued", "action": "x", "target": "x", "note": "x"}
    assert root.post(row, fields).status_code == 403
    assert root.post(row.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert root.post(f"{page}add/", fields).status_code == 403
    keys = re.findall(r"/([0-9a-f-]{36})/change/", row)
    root.post(page, {"action": "delete_selected", "_selected_action": keys, "post": "yes"})
    assert [list(table.objects.order_by("pk").values()) for table in tables] == before


def test_workers_cannot_be_changed_and_models_cannot_be_deleted(root: Client, model: MLModel) -> None:
    worker = Worker.objects.first()
    assert worker is not None
    for name, key in (("jobs_worker", worker.pk), ("mlmodels_mlmodel", model.pk)):
        assert root.post(reverse(f"admin:{name}_delete", args=[key]), {"post": "yes"}).status_code == 403
        assert root.post(reverse(f"admin:{name}_add"), {"slug": "x"}).status_code == 403
    assert root.post(reverse("admin:jobs_worker_change", args=[worker.pk]), {"host": "x"}).status_code == 403
    assert (Worker.objects.count(), MLModel.objects.count()) == (2, 1)


def staff(*codenames: str) -> Client:
    person = User.objects.create_user("bob", "bob@example.org", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(person)
    return client


def levers(model: MLModel) -> list[tuple[str, dict[str, Any]]]:
    failed = Prediction.objects.get(status="failed")
    return [
        (reverse("admin:mlmodels_upload"), {}),
        (release_page(model.versions.get(number=1)), {"reason": "mine"}),
        (reverse("admin:mlmodels_rollback", args=[model.pk]), {"reason": "mine"}),
        (
            reverse("admin:predictions_prediction_changelist"),
            {"action": "send_again", "_selected_action": [str(failed.pk)], "confirmed": "1"},
        ),
        (reverse("admin:accounts_user_add"), {"username": "carol", "email": "carol@example.org"}),
    ]


def test_staff_without_permissions_see_and_do_nothing(model: MLModel) -> None:
    bob = staff()
    assert "permission to view or edit anything." in text(bob.get(reverse("admin:index")))
    for name in LISTS:
        assert bob.get(reverse(f"admin:{name}_changelist")).status_code == 403
    for page, fields in levers(model):
        assert bob.get(page).status_code == 403
        assert bob.post(page, fields).status_code == 403
    assert (Release.objects.count(), Prediction.objects.count()) == (2, 5)


def test_staff_who_may_look_may_not_act(model: MLModel) -> None:
    bob = staff("view_mlmodel", "view_modelversion", "view_release", "view_prediction", "view_user")
    for name in ("mlmodels_mlmodel", "mlmodels_modelversion", "mlmodels_release", "predictions_prediction"):
        text(bob.get(reverse(f"admin:{name}_changelist")))
    text(bob.get(reverse("admin:mlmodels_mlmodel_change", args=[model.pk])))
    assert "send_again" not in bob.get(reverse("admin:predictions_prediction_changelist")).content.decode()
    for page, fields in levers(model):
        bob.post(page, fields)
    page = reverse("admin:mlmodels_mlmodel_change", args=[model.pk])
    assert bob.post(page, {"title": "Mine"}).status_code == 403
    assert (Release.objects.count(), Prediction.objects.count()) == (2, 5)
    assert not User.objects.filter(username="carol").exists()


def test_nobody_else_reaches_admin(model: MLModel, alice: User) -> None:
    person = Client()
    person.force_login(alice)
    for client, status in ((Client(), 200), (person, 403)):
        for page, fields in [*levers(model), (reverse("admin:index"), {})]:
            answer = client.post(page, fields, follow=True)
            assert answer.status_code == status, (page, answer)
            if status == 200:
                assert answer.redirect_chain[-1][0].startswith("/accounts/login/")
    assert (Release.objects.count(), Prediction.objects.count()) == (2, 5)
