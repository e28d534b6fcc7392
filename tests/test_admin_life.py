"""What becomes of a model, as operators see it: releases, trainings, judgements, pushes, and the way back from each."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mlmodels.executor.outcomes import EXPORTED_PROGRAM
from mlmodels.models import Delivery, Evaluation, MLModel, ModelVersion, Purpose, TrainingRun
from predictions.models import Prediction
from serving_site.accounts.models import AuditEvent, User
from serving_site.jobs.models import Lane
from tests import life, registry
from tests.test_admin import staff, text

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC).replace(microsecond=0)
LISTS = {
    "datasetsnapshot": "mlmodels.view_datasetsnapshot",
    "trainingrun": "mlmodels.view_trainingrun",
    "evaluation": "mlmodels.view_evaluation",
    "delivery": "mlmodels.view_delivery",
}


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
    model = registry.live_model("animals")
    for _ in range(3):
        registry.prediction(alice, model)
    return life.lived_model(model, alice)


def facts(page: str) -> dict[str, str]:
    """Every name of a page with its value, as words."""
    pairs = re.findall(r"<dt>(.*?)</dt> ?<dd>(.*?)</dd>", page)
    return {name.strip(): re.sub(r"<[^>]+>", "", value).strip() for name, value in pairs}


def page_of(row: Any) -> str:
    return reverse(f"admin:mlmodels_{row._meta.model_name}_change", args=[row.pk])


def list_of(name: str) -> str:
    return reverse(f"admin:mlmodels_{name}_changelist")


@pytest.mark.parametrize("name", LISTS)
def test_every_list_and_every_row_of_it_can_be_read_searched_and_filtered(
    root: Client, model: MLModel, name: str
) -> None:
    page = text(root.get(list_of(name)))
    rows = set(re.findall(rf'href="({list_of(name)}[0-9a-f-]+/change/)', page))
    assert rows
    for row in rows:
        text(root.get(row))
        assert root.post(row, {"outcome": "x", "status": "queued"}).status_code == 403
        assert root.post(row.replace("change", "delete"), {"post": "yes"}).status_code == 403
    for query in ("?q=animals", "?q=0", "?o=1"):
        text(root.get(list_of(name) + query, follow=True))
    for link in set(re.findall(r'href="(\?[^"]+)"', page)):
        text(root.get(list_of(name) + link.replace("&amp;", "&"), follow=True))


@pytest.mark.parametrize("name", LISTS)
def test_a_list_costs_as_many_queries_with_three_rows_as_with_one(
    root: Client, alice: User, name: str, django_assert_num_queries: Any
) -> None:
    model = registry.live_model("animals")
    root.get(list_of(name))

    def one_more(number: int) -> None:
        version = life.version(model, number)
        data = life.snapshot(model, f"{number:064x}")
        life.training_run(data, version=version)
        gate = life.evaluation(version, Purpose.GATE, against=version, snapshot=data, report=life.gate_report())
        life.delivery(version, f"{number:040x}", evaluation=gate, release=model.live_release)

    one_more(2)
    with CaptureQueriesContext(connection) as first:
        text(root.get(list_of(name)))
    one_more(3)
    one_more(4)
    with django_assert_num_queries(len(first)):
        text(root.get(list_of(name)))


@pytest.mark.parametrize("name", LISTS)
def test_a_list_needs_its_own_permission(model: MLModel, name: str) -> None:
    assert staff().get(list_of(name)).status_code == 403
    User.objects.filter(username="bob").delete()
    assert staff(LISTS[name].removeprefix("mlmodels.")).get(list_of(name)).status_code == 200


def releases_page(model: MLModel, at: Any = None) -> str:
    asked = f"?at={at:%Y-%m-%dT%H:%M:%S}" if at else ""
    return reverse("admin:mlmodels_releases", args=[model.pk]) + asked


def aged(alice: User, *days_ago: float) -> MLModel:
    """A model whose versions 1, 2, … went live so many days ago, one after the other."""
    with patch("django.utils.timezone.now", return_value=days(days_ago[0])):
        model = registry.live_model("animals")
    for number, ago in enumerate(days_ago[1:], start=2):
        with patch("django.utils.timezone.now", return_value=days(ago)):
            version = life.version(model, number)
            model.live_release = model.releases.create(number=number, version=version, by=alice, reason=f"no. {number}")
    model.save()
    return model


def days(ago: float) -> datetime:
    return NOW - timedelta(days=ago)


def test_the_page_of_releases_answers_what_was_live_when_and_why(root: Client, alice: User) -> None:
    model = aged(alice, 30, 10)
    now = text(root.get(releases_page(model)))
    assert re.search(r"At [-0-9: ]+ UTC <a [^>]+><strong>animals@2</strong></a> is live, as", now)
    assert facts(now)["Who"] == "alice"
    assert facts(now)["Why"] == "no. 2"
    then = text(root.get(releases_page(model, days(20))))
    assert "<strong>animals@1</strong></a> was live, as" in then
    assert facts(then)["Who"] == "the site itself"
    assert "Nothing was live at" in text(root.get(releases_page(model, days(40))))


def test_the_evidence_of_a_release_can_be_opened(root: Client, model: MLModel) -> None:
    page = text(root.get(releases_page(model)))
    gate = Evaluation.objects.get(purpose="gate")
    assert f'<a href="{page_of(gate)}">{facts(page)["On what evidence"]}</a>' in page
    assert facts(page)["On what evidence"] == "the gate refused it and was overridden"
    assert facts(page)["Why"] == "better &lt;b&gt;"


def test_the_second_of_a_release_belongs_to_it(root: Client, alice: User) -> None:
    model = aged(alice, 30, 10)
    assert "<strong>animals@2</strong>" in text(root.get(releases_page(model, days(10))))
    assert "<strong>animals@1</strong>" in text(root.get(releases_page(model, days(10) - timedelta(seconds=1))))


def test_a_time_that_cannot_be_read_is_said(root: Client, model: MLModel) -> None:
    page = text(root.get(releases_page(model) + "?at=yesterday"))
    assert "Enter a valid date/time." in page
    assert "is live, as" not in page


def test_the_timeline_says_how_long_each_release_was_live(root: Client, alice: User) -> None:
    page = text(root.get(releases_page(aged(alice, 30, 10, 3.5))))
    assert re.findall(r'data-label="Live for">([^<]+)<', page) == ["3 days", "6 days", "20 days"]
    assert re.findall(r'<tr( class="current")?>[^/]+/admin/mlmodels/release', page) == [' class="current"', "", ""]
    assert re.findall(r">(animals@.)</a></td>", page) == ["animals@3", "animals@2", "animals@1"]


def test_figures_are_drawn_from_version_to_version(root: Client, model: MLModel) -> None:
    page = text(root.get(releases_page(model)))
    assert '<th scope="row">1</th><td>0.97</td></tr><tr><th scope="row">2, live</th><td>0.94</td>' in page
    assert page.count('<svg class="plot low"') == 4


def test_releases_cost_as_many_queries_with_four_as_with_two(
    root: Client, alice: User, django_assert_num_queries: Any
) -> None:
    model = aged(alice, 3, 2)
    text(root.get(releases_page(model)))
    with django_assert_num_queries(9):
        text(root.get(releases_page(model)))
    for number in (3, 4):
        model.releases.create(number=number, version=life.version(model, number), by=alice, reason="better")
    with django_assert_num_queries(9):
        text(root.get(releases_page(model)))


def test_a_model_without_releases_says_so(root: Client) -> None:
    model = MLModel.objects.create(slug="new", title="New", task="classification")
    page = text(root.get(releases_page(model)))
    assert "Nothing was live at" in page
    assert "This model has not been released yet." in page


def test_releases_are_for_those_who_may_see_them(model: MLModel) -> None:
    assert staff("view_mlmodel").get(releases_page(model)).status_code == 403
    User.objects.filter(username="bob").delete()
    assert staff("view_release").get(releases_page(model)).status_code == 200


def test_a_run_is_drawn_beside_at_most_four_runs_before_it(root: Client, model: MLModel) -> None:
    data = model.snapshots.get()
    for seed in range(6):
        life.training_run(data, seed=seed)
    run = TrainingRun.objects.filter(model=model).latest("id")
    page = text(root.get(page_of(run)))
    assert page.count('class="now" points') == 2  # loss and metric
    assert page.count('class="earlier e') == 2 * 2 * 4  # with their swatches
    assert "this run" in page
    assert "seed 4" in page
    assert "seed 0" not in page


def test_a_run_tells_data_commit_log_and_what_it_became(root: Client, model: MLModel) -> None:
    run = TrainingRun.objects.get(model=model, status="succeeded")
    page = text(root.get(page_of(run)))
    assert "400 rows, 100 more held out, 2 columns; animals.csv" in page
    assert life.COMMIT[:12] in page
    assert "<summary>2 lines</summary><pre>one two</pre>" in page
    assert f'<a href="{page_of(run.version)}">animals@2</a>' in page
    assert "http-equiv" not in page


def test_a_running_run_shows_where_it_stands_and_looks_again(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(TrainingRun.objects.get(status="running"))))
    assert re.search(r"epoch 9 of 40, loss 0\.4231, metric 0\.9444\. This page follows it\.", page)
    assert '<meta http-equiv="refresh" content="9">' in page


def test_a_failed_run_says_why(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(TrainingRun.objects.get(status="failed"))))
    assert '<strong class="state-bad">It failed.</strong> Killed.' in page


def test_a_version_shows_how_it_was_judged_and_where_it_comes_from(root: Client, model: MLModel) -> None:
    version = model.versions.get(number=2)
    page = text(root.get(page_of(version)))
    assert facts(page)["balanced accuracy"] == "0.93"
    assert facts(page)["one row, median"] == "0.42 ms"
    assert facts(page)["memory"] == "212.4 MB"
    assert '<td class="right heat-10"><b>57</b> <span>95.0 %</span></td>' in page
    assert "Dog (0.981)" in page
    assert "400 rows for training, 100 held out; animals.csv" in page
    assert f'href="{page_of(version.training_run)}"' in page
    assert f'href="{page_of(version.deliveries.get())}"' in page
    assert version.weights_sha256[12:] in page


def test_a_version_says_what_was_measured_beside_what_its_manifest_claims(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(model.versions.get(number=2))))
    assert '<tr><th scope="row">accuracy</th><td>0.94</td><td>0.97</td></tr>' in page


def test_a_version_that_runs_code_of_its_own_says_so(root: Client, model: MLModel) -> None:
    version = model.versions.get(number=2)
    assert "weights alone" in text(root.get(page_of(version)))
    manifest = {**version.manifest, "architecture": EXPORTED_PROGRAM}
    other = life.version(model, 3, manifest=manifest)
    assert "it runs code of its own, in the sandbox" in text(root.get(page_of(other)))


def test_a_number_is_judged_by_residuals(root: Client) -> None:
    model = registry.live_model("weights", registry.number_signature(), mae=3.2)
    life.evaluation(model.versions.get(), report=life.NUMBER_REPORT)
    page = text(root.get(page_of(model.versions.get())))
    assert "estimated (kg)" in page
    assert '<tr><th scope="row">-2 to 2</th><td>51</td></tr>' in page


def test_a_gate_says_each_verdict_in_words_and_links_what_is_answered_otherwise(root: Client, model: MLModel) -> None:
    gate = Evaluation.objects.get(purpose="gate")
    page = text(root.get(page_of(gate)))
    assert '<strong class="state-bad">Refused.</strong> 2 of 4 checks failed: accuracy, replay.' in page
    verdicts = re.findall(r"<li> <(?:strong|span) class=\"([a-z-]+)\">([a-z ]+)</", page)
    assert verdicts == [
        ("state-bad", "refused"), ("state-good", "passed"), ("quiet", "not judged"), ("state-bad", "refused"),
    ]  # fmt: skip
    assert '<th scope="row">accuracy</th><td>0.91</td><td>0.94</td>' in page
    listed = re.findall(r'href="/admin/predictions/prediction/([0-9a-f-]+)/change/"', page)
    assert listed == [each["prediction"] for each in gate.report["replay"]["disagreements"]]
    assert len(listed) == 2


def test_an_override_stands_at_the_top_of_its_release(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(model.releases.get(number=2))))
    assert "The gate refused this version and was overridden</strong> by alice." in page
    assert "<p>Why: The hold-out is &lt;old&gt;.</p>" in page
    assert page.index("overridden") < page.index("2 of 4 checks failed")
    assert "overridden" not in text(root.get(page_of(model.releases.get(number=1))))


def test_a_replay_says_how_many_agree(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(Evaluation.objects.get(purpose="replay"))))
    assert "9 of 9 stored inputs are answered as they were then, 8 of them to the last bit." in page


def test_a_push_shows_its_gate(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(Delivery.objects.get())))
    assert "2 of 4 checks failed" in page
    assert "Waits for an operator." in page
    assert "Fewer misses" in page
    assert "Fewer misses" in text(root.get(list_of("delivery")))


def test_from_a_version_to_all_its_predictions(root: Client, model: MLModel) -> None:
    page = text(root.get(page_of(model.versions.get(number=1))))
    (link,) = re.findall(r'href="([^"]+)">All its predictions</a>', page)
    assert text(root.get(link)).count("/change/?_changelist_filters") == 3
    (link,) = re.findall(
        r'href="([^"]+)">All its predictions</a>', text(root.get(page_of(model.versions.get(number=2))))
    )
    assert "0 predictions" in text(root.get(link))


def again_page(version: ModelVersion) -> str:
    return reverse("admin:predictions_run_again", args=[version.pk])


def test_what_a_version_was_asked_can_be_asked_of_the_current_one(root: Client, model: MLModel, alice: User) -> None:
    old = model.versions.get(number=1)
    assert "Ask animals@2 what people asked animals@1?" in text(root.get(again_page(old)))
    assert Prediction.objects.count() == 3
    said = text(root.post(again_page(old), {"count": "2"}, follow=True))
    assert "2 sent again." in said
    new = Prediction.objects.filter(version__number=2)
    assert {(row.owner, row.lane, row.status, row.source) for row in new} == {(alice, Lane.BATCH, "queued", "web")}
    assert new.count() == 2
    asked = [row.inputs for row in Prediction.objects.filter(version=old)[:1]]
    assert [row.inputs for row in new] == asked * 2
    assert AuditEvent.objects.filter(action="prediction.send_again", actor__username="root").count() == 2


@pytest.mark.parametrize("count", ["0", "201", "many", ""])
def test_only_so_many_can_be_asked_at_once(root: Client, model: MLModel, count: str) -> None:
    page = text(root.post(again_page(model.versions.get(number=1)), {"count": count}))
    assert "errorlist" in page
    assert Prediction.objects.count() == 3


def test_asking_again_needs_its_permission(model: MLModel) -> None:
    version = model.versions.get(number=1)
    bob = staff("view_modelversion", "view_prediction")
    page = text(bob.get(page_of(version)))
    assert "All its predictions" in page
    assert "Run these again" not in page
    assert bob.get(again_page(version)).status_code == 403
    assert bob.post(again_page(version), {"count": "1"}).status_code == 403
    assert Prediction.objects.count() == 3


def test_a_model_without_a_live_version_cannot_be_asked_again(root: Client, model: MLModel) -> None:
    MLModel.objects.update(live_release=None)
    version = model.versions.get(number=1)
    assert "Nothing is live now that could answer." in text(root.get(again_page(version)))
    root.post(again_page(version), {"count": "1"})
    assert Prediction.objects.count() == 3


def test_levers_are_shown_to_those_who_may_pull_them(model: MLModel) -> None:
    bob = staff("view_mlmodel", "view_modelversion")
    page = text(bob.get(page_of(model)))
    assert not re.findall("Roll back|Upload a version|Releases and figures", page)
    assert "Make this version live" not in text(bob.get(page_of(model.versions.get(number=1))))
    User.objects.filter(username="bob").delete()
    bob = staff("view_mlmodel", "view_modelversion", "add_release", "view_release")
    page = text(bob.get(page_of(model)))
    assert set(re.findall("Roll back|Upload a version|Releases and figures", page)) == {
        "Roll back", "Releases and figures",
    }  # fmt: skip
    assert "Make this version live" in text(bob.get(page_of(model.versions.get(number=1))))


def test_a_prediction_tells_operators_where_its_answer_comes_from(root: Client, model: MLModel) -> None:
    model.versions.filter(number=1).update(snapshot=model.snapshots.get())
    row = Prediction.objects.filter(version__number=1).first()
    assert row is not None
    page = text(root.get(reverse("admin:predictions_prediction_change", args=[row.pk])))
    assert ">animals@1</a>" in page
    assert ">release 1</a>, live since" in page
    assert "b" * 52 in page
    assert "400 rows for training, 100 held out; animals.csv" in page
