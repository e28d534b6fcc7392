"""A form whose model copes with values that are not known."""

import copy
import re
from typing import Any

import pytest
from django.test import Client

from mlmodels.models import MLModel
from predictions.models import Prediction
from tests import registry


@pytest.fixture
def lenient(db: None) -> MLModel:
    """A model that needs none of its fields."""
    signature = copy.deepcopy(registry.table_signature())
    signature["input"]["required"] = []
    return registry.live_model("lenient", signature)


def asked(client: Client, **values: Any) -> Prediction:
    answer = client.post("/models/lenient/", {"_key": "1", **values})
    assert answer.status_code == 302, answer.content.decode()[:2000]
    return Prediction.objects.latest("id")


def test_what_may_stay_empty_is_marked_and_explained(browser_of_alice: Client, lenient: MLModel) -> None:
    page = browser_of_alice.get("/models/lenient/").content.decode()
    assert page.count('<span class="muted">(optional)</span>') == 3
    assert "What is marked optional may stay empty" in page
    assert page.count('<option value="">Not known</option>') == 2
    registry.live_model("strict")
    page = browser_of_alice.get("/models/strict/").content.decode()
    assert "optional" not in page


def test_an_empty_field_is_a_missing_value(browser_of_alice: Client, lenient: MLModel) -> None:
    assert asked(browser_of_alice, length="", coat="", tame="").inputs == [{}]
    assert asked(browser_of_alice, length="80", coat="", tame="no").inputs == [{"length": 80.0, "tame": False}]
    assert asked(browser_of_alice, length="", coat="rough", tame="yes").inputs == [{"coat": "rough", "tame": True}]


def test_what_was_not_given_is_said_on_the_predictions_page(browser_of_alice: Client, lenient: MLModel) -> None:
    row = asked(browser_of_alice, length="80", coat="", tame="")
    page = browser_of_alice.get(row.get_absolute_url()).content.decode()
    assert re.findall(r'<dt>([^<]+)</dt><dd class="muted">not given</dd>', page) == ["Coat", "Tame"]


@pytest.mark.parametrize(("text", "value"), [("yes", "yes"), ("no", "no"), ("", "")])
def test_a_yes_or_no_that_may_be_missing_keeps_what_was_chosen(
    browser_of_alice: Client, lenient: MLModel, text: str, value: str
) -> None:
    page = browser_of_alice.post("/models/lenient/", {"length": "wrong", "tame": text}).content.decode()
    chosen = re.findall(r'<option value="([^"]*)" selected>', page)
    assert chosen == ([value] if value else [])


def test_an_example_chooses_yes_and_no(browser_of_alice: Client, lenient: MLModel) -> None:
    for number, value in ((0, "yes"), (1, "no")):
        page = browser_of_alice.get(f"/models/lenient/?example={number}").content.decode()
        assert f'<option value="{value}" selected>' in page
