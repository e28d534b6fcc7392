"""What a person sees and can do, from the gallery to a result and back to it in history."""

import io
import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape
from PIL import Image
from pytest_django import DjangoAssertNumQueries

from mlmodels.models import MLModel
from predictions import uploads
from predictions.models import Prediction, Upload
from serving_site.accounts.models import User
from tests import registry

GOOD = {"length": "80", "coat": "rough", "tame": "on", "_key": "4f5c0001"}


def page(client: Client, path: str, **params: str) -> str:
    response = client.get(path, params)
    assert response.status_code == 200
    return response.content.decode()


def main_part(text: str) -> str:
    return text.partition("<main")[2]


def test_an_empty_site_says_what_to_do(browser_of_alice: Client) -> None:
    text = page(browser_of_alice, "/")
    assert "No models yet" in text
    assert "Nothing asked yet" in text


def test_the_gallery_shows_each_model_with_its_quality_in_words(browser_of_alice: Client, animals: MLModel) -> None:
    registry.live_model("weights", registry.number_signature(), r2=0.45, mae=4.26, rows=20)
    text = page(browser_of_alice, "/")
    assert "Right on 97 of 100 cases it had never seen" in text
    assert "Explains 45 % of the variation; typically off by 4.26 kg" in text
    assert "Tells what it is." in text
    assert "Always." not in text


def test_a_models_page_says_how_good_it_is_and_on_what_it_learned(browser_of_alice: Client, animals: MLModel) -> None:
    text = page(browser_of_alice, "/models/animals/")
    for words in (
        "Right on 97 of 100 cases it had never seen.",
        "50 cases were set aside before training",
        "Animals of the village",
        "200 cases",
        "5 October 2026",
        "97 of 100 cases right",
    ):
        assert words in text


def test_the_form_is_made_from_the_signature(browser_of_alice: Client, animals: MLModel) -> None:
    text = page(browser_of_alice, "/models/animals/")
    for words in (
        '<label for="field-length">Length</label>',
        '<span class="unit" title="cm">cm</span>',
        "10 to 200, typically 30 to 90",
        "From nose to tail.",
        '<option value="rough">Rough coat</option>',
        'type="checkbox"',
    ):
        assert words in text


def test_an_example_fills_the_form_without_scripts(browser_of_alice: Client, animals: MLModel) -> None:
    text = page(browser_of_alice, "/models/animals/", example="0")
    assert 'value="80"' in text
    assert '<option value="rough" selected>' in text
    assert "checked" in text


def test_a_good_input_is_stored_and_leads_to_its_page(browser_of_alice: Client, animals: MLModel) -> None:
    response = browser_of_alice.post("/models/animals/", {**GOOD, "_note": "the old one"})
    row = Prediction.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/predictions/{row.pk}/")
    assert row.inputs == [{"length": 80.0, "coat": "rough", "tame": True}]
    assert (row.status, row.note, row.source, row.pinned) == ("queued", "the old one", "web", False)


def test_a_form_that_is_sent_twice_counts_once(browser_of_alice: Client, animals: MLModel) -> None:
    answers = [browser_of_alice.post("/models/animals/", GOOD)["Location"] for _ in range(3)]
    assert len(set(answers)) == 1
    assert Prediction.objects.count() == 1


def test_going_back_and_sending_something_else_is_a_new_prediction(browser_of_alice: Client, animals: MLModel) -> None:
    browser_of_alice.post("/models/animals/", GOOD)
    browser_of_alice.post("/models/animals/", {**GOOD, "length": "81"})
    assert Prediction.objects.count() == 2


def test_each_page_has_a_key_of_its_own(browser_of_alice: Client, animals: MLModel) -> None:
    keys = {page(browser_of_alice, "/models/animals/").partition('name="_key" value="')[2][:36] for _ in range(2)}
    assert len(keys) == 2


def test_a_picture_is_stored_with_a_server_made_name(browser_of_alice: Client, pictures: MLModel) -> None:
    name = "../../etc/" + "n" * 300 + ".png"
    browser_of_alice.post("/models/pictures/", {"image": SimpleUploadedFile(name, registry.png(), "text/html")})
    row, upload = Prediction.objects.get(), Upload.objects.get()
    assert row.inputs == [{"image": {"upload": str(upload.pk)}}]
    assert (upload.content_type, upload.is_preview) == ("image/png", False)
    assert "/" not in row.file_name
    text = page(browser_of_alice, f"/predictions/{row.pk}/")
    assert "n" * 121 not in text


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_each_kind_are_taken_whatever_they_are_called(
    browser_of_alice: Client, pictures: MLModel, kind: str
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, kind)
    sent = SimpleUploadedFile("noname", file.getvalue(), "application/octet-stream")
    assert browser_of_alice.post("/models/pictures/", {"image": sent}).status_code == 302
    assert Upload.objects.get().content_type == f"image/{kind.lower()}"


def test_an_example_picture_is_sent_with_the_form(browser_of_alice: Client, pictures: MLModel) -> None:
    uri = registry.data_uri(registry.png())
    assert escape(uri) in page(browser_of_alice, "/models/pictures/", example="0")
    assert browser_of_alice.post("/models/pictures/", {"image": uri}).status_code == 302
    assert Upload.objects.get().size == len(registry.png())


@pytest.mark.parametrize(
    ("status", "fields", "words"),
    [
        ("queued", {}, ("Waiting for its turn", "It is next in line.", "Cancel", 'http-equiv="refresh"')),
        ("running", {}, ("The model is computing", "Running for", "Cancel")),
        ("canceled", {}, ("You canceled this", "Run again")),
        (
            "failed",
            {"reason_code": "timeout", "error": "The model took longer than 20 s."},
            ("What happened", "The model took longer than 20 s.", "Try a smaller input"),
        ),
        ("succeeded", {}, ("Cat", "90.0 %", "10.0 %", "Run again", "version 1", "4 ms", "2 ms")),
    ],
)
def test_each_state_is_told_in_words(
    browser_of_alice: Client, alice: User, animals: MLModel, status: str, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    row = registry.prediction(alice, animals, status, **fields)
    text = page(browser_of_alice, f"/predictions/{row.pk}/")
    for each in words:
        assert each in text
    assert str(row.pk) in text
    is_final = status in ("canceled", "failed", "succeeded")
    assert ("data-poll" in text, 'http-equiv="refresh"' in text) == (not is_final, not is_final)


def test_a_number_is_marked_on_its_scale(browser_of_alice: Client, alice: User) -> None:
    weights = registry.live_model("weights", registry.number_signature(), r2=0.5, mae=3.0, rows=5)
    row = registry.prediction(alice, weights, outputs=[{"value": 72.25}], label="72.25")
    text = page(browser_of_alice, f"/predictions/{row.pk}/")
    assert 'aria-label="72.25 on a scale from 0 to 100"' in text
    assert "higher than usual" in text
    assert "kg" in text


def test_a_picture_is_shown_as_the_executor_drew_it(browser_of_alice: Client, alice: User, pictures: MLModel) -> None:
    preview = uploads.store_preview(alice.pk, registry.png())
    given = [{"image": {"upload": "01900000-0000-7000-8000-000000000000"}}]
    row = registry.prediction(alice, pictures, inputs=given, previews={"0": {"image": preview}})
    text = page(browser_of_alice, f"/predictions/{row.pk}/")
    assert f'src="/files/{preview}/"' in text
    assert "01900000" not in text
    uploads.remove([preview])


def test_polling_repeats_nothing_that_has_not_changed(browser_of_alice: Client, alice: User, animals: MLModel) -> None:
    row = registry.prediction(alice, animals, "queued")
    path = f"/predictions/{row.pk}/status/"
    first = browser_of_alice.get(path)
    again = browser_of_alice.get(path, headers={"if-none-match": first["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    Prediction.objects.filter(pk=row.pk).update(status="canceled", completed_at=row.created_at)
    changed = browser_of_alice.get(path, headers={"if-none-match": first["ETag"]})
    assert changed.status_code == 200
    assert "data-poll" not in changed.content.decode()
    assert "<html" not in changed.content.decode()


def test_polling_what_runs_costs_one_query_beside_session_and_user(
    browser_of_alice: Client, alice: User, animals: MLModel, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path = f"/predictions/{registry.prediction(alice, animals, 'running').pk}/status/"
    known = {"if-none-match": browser_of_alice.get(path)["ETag"]}
    with django_assert_num_queries(3):
        assert browser_of_alice.get(path, headers=known).status_code == 304


def test_a_waiting_prediction_can_be_canceled(browser_of_alice: Client, alice: User, animals: MLModel) -> None:
    row = registry.prediction(alice, animals, "queued")
    response = browser_of_alice.post(f"/predictions/{row.pk}/cancel/", follow=True)
    assert "You canceled this" in response.content.decode()
    row.refresh_from_db()
    assert row.status == "canceled"


def test_canceling_what_is_done_changes_nothing_and_says_so(
    browser_of_alice: Client, alice: User, animals: MLModel
) -> None:
    row = registry.prediction(alice, animals)
    response = browser_of_alice.post(f"/predictions/{row.pk}/cancel/", follow=True)
    assert "finished before it could be canceled" in response.content.decode()


def test_running_again_makes_a_new_prediction_with_the_same_input(
    browser_of_alice: Client, alice: User, animals: MLModel
) -> None:
    row = registry.prediction(alice, animals, "failed", error="x", reason_code="timeout")
    response = browser_of_alice.post(f"/predictions/{row.pk}/again/")
    again = Prediction.objects.exclude(pk=row.pk).get()
    assert response["Location"] == f"/predictions/{again.pk}/"
    assert (again.inputs, again.status) == (row.inputs, "queued")


def test_running_again_without_a_live_version_says_why(browser_of_alice: Client, alice: User, animals: MLModel) -> None:
    row = registry.prediction(alice, animals)
    MLModel.objects.update(live_release=None)
    response = browser_of_alice.post(f"/predictions/{row.pk}/again/", follow=True)
    assert "no live version yet" in response.content.decode()


def test_a_note_is_kept_and_found(browser_of_alice: Client, alice: User, animals: MLModel) -> None:
    row = registry.prediction(alice, animals)
    browser_of_alice.post(f"/predictions/{row.pk}/note/", {"note": " Rex, the <b>old</b> one "})
    assert "Rex, the &lt;b&gt;old&lt;/b&gt; one" in page(browser_of_alice, f"/predictions/{row.pk}/")
    assert "Rex" in main_part(page(browser_of_alice, "/predictions/", q="rEX, the <b>"))


def test_deleting_asks_first_and_removes_row_and_files(
    browser_of_alice: Client, alice: User, pictures: MLModel, django_capture_on_commit_callbacks: Any
) -> None:
    browser_of_alice.post("/models/pictures/", {"image": SimpleUploadedFile("a.png", registry.png(), "image/png")})
    row = Prediction.objects.get()
    path = f"/predictions/{row.pk}/delete/"
    assert "Delete this prediction?" in page(browser_of_alice, path)
    assert Prediction.objects.count() == 1
    with django_capture_on_commit_callbacks(execute=True):
        response = browser_of_alice.post(path, follow=True)
    assert "The prediction is deleted." in response.content.decode()
    assert (Prediction.objects.count(), Upload.objects.count()) == (0, 0)


def test_texts_of_models_and_people_cannot_become_markup(browser_of_alice: Client, alice: User) -> None:
    evil = "<script>alert(1)</script>"
    signature = json.loads(json.dumps(registry.table_signature()).replace("Length", evil).replace("Rough coat", evil))
    model = registry.live_model("evil", signature)
    MLModel.objects.update(title=evil, description=evil)
    row = registry.prediction(alice, model, file_name=evil, note=evil)
    for path in ("/", "/models/evil/", "/predictions/", f"/predictions/{row.pk}/", f"/predictions/{row.pk}/delete/"):
        assert evil not in page(browser_of_alice, path)


@pytest.mark.parametrize("path", ["/", "/predictions/"])
def test_a_list_costs_the_same_number_of_queries_for_one_and_for_three_rows(
    browser_of_alice: Client, alice: User, animals: MLModel, path: str
) -> None:
    registry.prediction(alice, animals)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as seen:
            browser_of_alice.get(path)
        counts.append(len(seen))
        registry.prediction(alice, animals)
        registry.prediction(alice, animals)
    assert counts[0] == counts[1] <= 6
