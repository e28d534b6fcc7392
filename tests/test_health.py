"""Is the process alive, can the site accept and store, and does everything behind it answer."""

import datetime
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from serving_site.jobs import sql
from serving_site.jobs.models import Worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    cache.clear()
    return Client()


def worker(age_s: float = 0) -> None:
    now = sql.now()
    seen = now - datetime.timedelta(seconds=age_s)
    Worker.objects.create(host="here", pid=1, slots=2, queues=["infer.v1"], started_at=now, seen_at=seen)


def ready(client: Client, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
    answer = client.get(path)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.json()


def test_livez_answers_without_looking_at_anything(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/livez")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_a_site_with_a_living_worker_is_ready_in_full(client: Client) -> None:
    worker()
    good = {
        "status": "ok",
        "checks": {"database": "ok", "migrations": "ok"},
        "behind": {"broker": "ok", "workers": "ok"},
        "degraded": False,
    }
    assert ready(client) == (200, good)
    assert ready(client, "/readyz?full") == (200, good)


@pytest.mark.parametrize("age_s", [None, 11])
def test_without_a_living_worker_the_site_still_accepts_and_stores(client: Client, age_s: float | None) -> None:
    if age_s:
        worker(age_s)
    status, body = ready(client)
    assert (status, body["status"], body["degraded"]) == (200, "ok", True)
    assert body["behind"] == {"broker": "ok", "workers": "no worker has answered for 10 s"}
    status, body = ready(client, "/readyz?full")
    assert (status, body["status"]) == (503, "unavailable")


def test_an_unapplied_migration_makes_the_site_unready(client: Client) -> None:
    worker()
    ((app, newest),) = MigrationLoader(connection).graph.leaf_nodes("predictions")
    MigrationRecorder(connection).record_unapplied(app, newest)
    for path in ("/readyz", "/readyz?full"):
        status, body = ready(client, path)
        assert (status, body["checks"]["migrations"]) == (503, "1 not applied")


def test_a_database_that_is_away_makes_the_site_unready_but_alive(client: Client) -> None:
    with connection.execute_wrapper(_away):
        status, body = ready(client)
        assert client.get("/livez").status_code == 200
    assert status == 503
    assert body["checks"]["database"].startswith("OperationalError after 0.0 s")
    assert body["behind"] == {"broker": "unknown", "workers": "unknown"}


def _away(*args: Any) -> None:
    from django.db import OperationalError

    raise OperationalError("server closed the connection unexpectedly")


def test_pages_say_that_no_worker_answers(client: Client) -> None:
    text = "No worker is answering. What you submit is stored and runs as soon as one is back."
    assert text in client.get("/accounts/login/").content.decode() or text in _home(client)
    worker()
    cache.clear()
    assert text not in _home(client)


def _home(client: Client) -> str:
    from serving_site.accounts.models import User

    person, _ = User.objects.get_or_create(username="alice", defaults={"email": "alice@example.org"})
    client.force_login(person)
    return client.get("/").content.decode()
