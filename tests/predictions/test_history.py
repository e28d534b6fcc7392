"""A person's history: literal search, filters, pages that stay where they are."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.test import Client

from mlmodels.models import MLModel
from predictions import history
from predictions.models import Prediction
from serving_site.accounts.models import User
from serving_site.jobs.uuid7 import uuid7
from tests import registry


def found(user: User, **params: str) -> list[str]:
    """The notes of the predictions on the page that an address asks for, as they stand there."""
    return [row.note for row in history.page(user, history.parse(params)).rows]


def key_of(day: datetime) -> Any:
    """A key as it was made on `day`."""
    return type(uuid7())(int=int(day.timestamp() * 1000) << 80 | uuid7().int & (1 << 80) - 1)


@pytest.mark.parametrize(
    ("note", "text"),
    [
        ("100% sure", "0% s"),
        ("a_b", "a_b"),
        ("it's", "t's"),
        ('say "x"', '"x"'),
        (r"back\slash", "k\\s"),
        ("(a|b)*", "a|b)*"),
        ("Ärger mit ÖL", "ärger MIT öl"),
        ("'; DROP TABLE x; --", "'; drop"),
    ],
)
def test_search_takes_every_letter_as_it_stands(alice: User, animals: MLModel, note: str, text: str) -> None:
    registry.prediction(alice, animals, note="something else, axb, 1000 sure")
    registry.prediction(alice, animals, note=note)
    assert found(alice, q=text) == [note]


def test_search_looks_at_model_status_id_file_note_and_answer(alice: User, animals: MLModel) -> None:
    row = registry.prediction(
        alice, animals, "failed", note="here", file_name="Rex.PNG", error="x", reason_code="timeout"
    )
    registry.prediction(alice, registry.live_model("others"), label="zebra", note="there")
    for text in ("animals", "Animals", "fail", "failed", str(row.pk), str(row.pk)[9:20], "rex.png", "her"):
        assert "here" in found(alice, q=text), text
    assert found(alice, q="ZEBRA") == ["there"]
    assert found(alice, q="Failed") == ["here"]
    assert found(alice, q="done") == ["there"]


@pytest.mark.parametrize("text", ["x" * 10_000, "\0", "nothing like it", "%", "_"])
def test_search_that_matches_nothing_finds_nothing(alice: User, animals: MLModel, text: str) -> None:
    registry.prediction(alice, animals, note="plain")
    assert found(alice, q=text) == []


def test_filters_narrow_by_model_status_and_day(alice: User, animals: MLModel) -> None:
    others = registry.live_model("others")
    day = datetime(2026, 3, 5, 23, 59, 59, tzinfo=UTC)
    registry.prediction(alice, animals, note="old", id=key_of(day))
    registry.prediction(alice, animals, note="next", id=key_of(day + timedelta(seconds=1)))
    registry.prediction(alice, others, "canceled", note="now")
    assert found(alice, model="others") == ["now"]
    assert found(alice, status="succeeded") == ["next", "old"]
    assert found(alice, until="2026-03-05") == ["old"]
    assert found(alice, since="2026-03-06", until="2026-03-06") == ["next"]
    assert found(alice, model="animals", since="2026-03-06") == ["next"]


@pytest.mark.parametrize(
    "params",
    [
        {"status": "'; --"},
        {"since": "yesterday"},
        {"before": "x"},
        {"after": "1"},
        {"until": "9999-12-31"},
        {"since": "0001-01-01"},
    ],
)
def test_what_cannot_be_read_in_an_address_is_left_out(alice: User, animals: MLModel, params: dict[str, str]) -> None:
    registry.prediction(alice, animals, note="mine")
    assert found(alice, **params) == ["mine"]


def test_pages_follow_each_other_both_ways_and_new_rows_move_nothing(alice: User, animals: MLModel) -> None:
    for number in range(history.PAGE * 2 + 1):
        registry.prediction(alice, animals, note=str(number))
    first = history.page(alice, history.parse({}))
    second = history.page(alice, history.parse(params_of(first.older)))
    registry.prediction(alice, animals, note="newest")
    third = history.page(alice, history.parse(params_of(second.older)))
    back = history.page(alice, history.parse(params_of(third.newer)))
    assert [row.note for row in first.rows] == [str(n) for n in range(50, 25, -1)]
    assert [row.note for row in third.rows] == ["0"]
    assert [row.pk for row in back.rows] == [row.pk for row in second.rows]
    assert (first.newer, third.older) == ("", "")


def params_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(address.removeprefix("?")))


def test_pages_keep_the_search(alice: User, animals: MLModel) -> None:
    for _ in range(history.PAGE + 1):
        registry.prediction(alice, animals, note="100 % & more")
    page = history.page(alice, history.parse({"q": "% & m", "status": "succeeded"}))
    assert params_of(page.older) == {"q": "% & m", "status": "succeeded", "before": str(page.rows[-1].pk)}


def test_nobody_finds_what_is_somebody_elses(alice: User, bob: User, animals: MLModel) -> None:
    registry.prediction(alice, animals, note="hers")
    assert found(bob) == []
    assert found(bob, q="hers") == []


def test_an_empty_history_and_a_search_without_a_hit_say_different_things(
    browser_of_alice: Client, alice: User, animals: MLModel
) -> None:
    empty = browser_of_alice.get("/predictions/").content.decode()
    registry.prediction(alice, animals)
    nothing = browser_of_alice.get("/predictions/", {"q": "<zzz>"}).content.decode()
    assert "Nothing asked yet" in empty
    assert "Nothing matches" in nothing
    assert "&lt;zzz&gt;" in nothing
    assert "Show all my predictions" in nothing


def test_lists_never_read_inputs_and_outputs(alice: User, animals: MLModel) -> None:
    registry.prediction(alice, animals)
    (row,) = history.page(alice, history.parse({})).rows
    assert {"inputs", "outputs", "previews"} <= row.get_deferred_fields()
    assert Prediction.objects.count() == 1
