"""Where an answer comes from, as whoever asked reads it."""

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from mlmodels.models import MLModel
from serving_site.accounts.models import User
from tests import life, registry


def told(client: Client, address: str) -> str:
    """The part of a prediction's page about lineage, as words."""
    page = client.get(address).content.decode()
    (part,) = re.findall(r'<details class="panel lineage">.*?</details>', page, re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part)).strip()


def test_an_answer_names_release_version_data_and_code(browser_of_alice: Client, alice: User, animals: MLModel) -> None:
    first = animals.versions.get()
    second = life.version(
        animals, 2, snapshot=life.snapshot(animals), manifest={**first.manifest, "code_commit": life.COMMIT}
    )
    animals.live_release = animals.releases.create(number=2, version=second, reason="better")
    row = registry.prediction(alice, animals)
    words = told(browser_of_alice, row.get_absolute_url())
    day = f"{animals.live_release.at.day} {animals.live_release.at:%B %Y}"
    assert f"Version 2 of Animals, which went live on {day} as release 2." in words
    assert "Animals of the village" in words
    assert "400 cases, and 100 more to test it" in words
    for fingerprint in ("d" * 64, second.weights_sha256, life.COMMIT):
        assert fingerprint in words


def test_what_is_not_known_is_left_out(browser_of_alice: Client, alice: User, animals: MLModel) -> None:
    row = registry.prediction(alice, animals, release=None)
    words = told(browser_of_alice, row.get_absolute_url())
    assert "Version 1 of Animals, which was asked for by its number." in words
    assert "250 cases in all" in words
    assert "Fingerprint of the data" not in words
    assert " Code " not in words


def test_lineage_costs_no_query_of_its_own(
    browser_of_alice: Client, alice: User, animals: MLModel, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    animals.versions.update(snapshot=life.snapshot(animals))
    row = registry.prediction(alice, animals)
    with django_assert_num_queries(3):  # session, person, prediction
        browser_of_alice.get(row.get_absolute_url())


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"cv_accuracy_mean": 0.975}, "Right on 98 of 100 cases that were left out in turn while it was made."),
        ({"cv_r2_mean": 0.4865}, "Explains 49 % of the variation in cases that were left out in turn"),
    ],
)
def test_until_it_is_measured_a_model_says_what_its_training_found(
    browser_of_alice: Client, db: None, metrics: dict[str, Any], words: str
) -> None:
    registry.live_model("animals", **metrics)
    assert words in browser_of_alice.get("/models/animals/").content.decode()


def test_a_models_page_counts_the_rows_of_its_snapshot(browser_of_alice: Client, animals: MLModel) -> None:
    animals.versions.update(snapshot=life.snapshot(animals), measured={"accuracy": 0.91, "rows": 100})
    page = browser_of_alice.get("/models/animals/").content.decode()
    assert "Right on 91 of 100 cases it had never seen" in page
    assert "<dt>Learned from</dt><dd>400 cases</dd>" in page
    assert "<dt>Tested on</dt><dd>100 cases</dd>" in page
