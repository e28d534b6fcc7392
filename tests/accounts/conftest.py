"""A person and their password."""

import pytest
from django.core.cache import cache

from serving_site.accounts.models import User

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def nothing_is_degraded() -> None:
    cache.set("degraded", {"broker": "ok", "workers": "ok"}, 600)


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", "alice@example.org", PASSWORD)
