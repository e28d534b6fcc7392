"""People and models for tests of pages."""

import pytest
from django.core.cache import cache
from django.test import Client

from mlmodels.models import MLModel
from serving_site.accounts.models import User
from tests import registry


@pytest.fixture(autouse=True)
def nothing_is_degraded() -> None:
    """Pages ask every two seconds whether workers answer; tests of pages start none."""
    cache.set("degraded", {"broker": "ok", "workers": "ok"}, 600)


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", "alice@example.org", "correct horse battery")


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob", "bob@example.org", "correct horse battery")


@pytest.fixture
def browser_of_alice(alice: User) -> Client:
    """A client in which alice is signed in."""
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def animals(db: None) -> MLModel:
    return registry.live_model()


@pytest.fixture
def pictures(db: None) -> MLModel:
    return registry.live_model("pictures", registry.picture_signature())
