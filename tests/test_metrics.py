"""/metrics: who may read it, what it says, and that it stays cheap and counts each thing once."""

import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection, connections
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from mlmodels.models import MLModel
from predictions.models import Prediction
from serving_site.accounts.models import User
from serving_site.jobs import finish, sql, submit, tally
from serving_site.jobs.finish import Outcome
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Status, Tally, Worker, count
from serving_site.metrics.families import PREFIX
from serving_site.metrics.middleware import RequestsMiddleware
from tests import registry

pytestmark = pytest.mark.django_db
RUN = {"queue_ms": 40.0, "compute_ms": 3.0, "load_ms": 0.0, "batch_rows": 1}


@pytest.fixture(autouse=True)
def counting(settings: Any, monkeypatch: pytest.MonkeyPatch) -> tally.Writer:
    """Metrics are on, and written when a test says so."""
    cache.clear()
    settings.METRICS = True
    writer = tally.Writer()
    monkeypatch.setattr(tally, "_writer", writer)
    return writer


@pytest.fixture
def animals() -> MLModel:
    return registry.live_model()


def queue(model: MLModel) -> Prediction:
    owner, _ = User.objects.get_or_create(username="alice", defaults={"email": "alice@example.org"})
    release = model.live_release
    assert release is not None
    prediction = Prediction(owner=owner, model=model, version=release.version, inputs=[{"length": 80.0}])
    submit.submit(prediction)
    return prediction


def scrape(**address: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Samples by name, without the prefix, and values in the order of their labels' names."""
    answer = Client().get("/metrics", **address)  # type: ignore[arg-type]
    assert answer.status_code == 200
    return {
        (sample.name.removeprefix(PREFIX), tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_there_is_no_such_page_until_it_is_turned_on(settings: Any) -> None:
    settings.METRICS = False
    assert Client().get("/metrics").status_code == 404


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 200), ("172.18.0.7", 200), ("8.8.8.8", 404), ("", 404)],
)
def test_only_private_addresses_are_answered(address: str, status: int) -> None:
    answer = Client().get("/metrics", REMOTE_ADDR=address)
    assert answer.status_code == status


def test_a_proxy_does_not_make_the_world_private(settings: Any) -> None:
    settings.TRUSTED_PROXIES = 1
    for forwarded, status in [("8.8.8.8", 404), ("127.0.0.1, 8.8.8.8", 404), ("10.0.0.9", 200)]:
        assert Client().get("/metrics", headers={"X-Forwarded-For": forwarded}).status_code == status


def test_outcomes_are_counted_by_model_version_and_status(animals: MLModel, counting: tally.Writer) -> None:
    good, bad, canceled, bystander = (queue(animals) for _ in range(4))
    kind = KINDS[Prediction]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.db.transaction.on_commit", lambda done, robust=False: done())
        finish.finish(
            kind,
            [
                Outcome(good.pk, Status.SUCCEEDED, fields={"outputs": [], **RUN}),
                Outcome(bad.pk, Status.FAILED, "bad_input", {"error": "No.", **RUN}),
            ],
            token=None,
        )
        finish.cancel(canceled)
        finish.cancel(canceled)  # a second time changes nothing, and counts nothing
    counting.write()
    read = scrape()
    assert {key: value for key, value in read.items() if key[0] == "predictions_total"} == {
        ("predictions_total", ("animals", "succeeded", "1")): 1,
        ("predictions_total", ("animals", "failed", "1")): 1,
        ("predictions_total", ("animals", "canceled", "1")): 1,
    }
    assert read["prediction_failures_total", ("animals", "bad_input", "1")] == 1
    assert read["jobs_total", ("infer.v1", "canceled")] == 1
    assert read["prediction_queue_seconds_bucket", ("0.025", "animals")] == 0
    assert read["prediction_queue_seconds_bucket", ("0.05", "animals")] == 2
    assert read["prediction_queue_seconds_bucket", ("+Inf", "animals")] == 2
    assert read["prediction_queue_seconds_sum", ("animals",)] == pytest.approx(0.08)
    assert read["prediction_compute_seconds_count", ("animals",)] == 2
    assert Prediction.objects.get(pk=bystander.pk).status == Status.QUEUED


def test_nothing_is_counted_where_it_is_off(settings: Any, counting: tally.Writer) -> None:
    settings.METRICS = False
    finish.JOBS.add("infer.v1", "succeeded")
    assert counting.pending == {}


def test_totals_of_several_writers_add_up(counting: tally.Writer) -> None:
    other = tally.Writer()
    for writer in (counting, other, counting):
        writer.add([(("jobs", ("infer.v1", "failed")), 2)])
        writer.write()
    counting.write()
    assert scrape()["jobs_total", ("infer.v1", "failed")] == 6
    assert Tally.objects.count() == 1


def test_what_cannot_be_written_now_is_written_later(counting: tally.Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(counted: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    finish.JOBS.add("infer.v1", "failed")
    with monkeypatch.context() as patch:
        patch.setattr(tally, "_write", away)
        patch.setattr(connections["default"], "close", lambda: None)  # it holds this test's transaction
        counting.write()
    finish.JOBS.add("infer.v1", "failed")
    counting.write()
    assert scrape()["jobs_total", ("infer.v1", "failed")] == 2


def test_counting_in_many_threads_loses_nothing(counting: tally.Writer) -> None:
    def work() -> None:
        for _ in range(500):
            finish.JOBS.add("infer.v1", "succeeded")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counting.pending == {("jobs", ("infer.v1", "succeeded")): 4000}


def test_what_waits_and_how_long(animals: MLModel) -> None:
    read = scrape()
    assert (read["queue_jobs", ("infer.v1", "queued")], read["queue_oldest_seconds", ("infer.v1",)]) == (0, 0)
    first = queue(animals)
    queue(animals)
    Prediction.objects.filter(pk=first.pk).update(created_at=sql.now() - datetime.timedelta(seconds=90))
    read = scrape()
    assert read["queue_jobs", ("infer.v1", "queued")] == 2
    assert read["queue_jobs", ("infer.v1", "running")] == 0
    assert read["queue_oldest_seconds", ("infer.v1",)] == pytest.approx(90, abs=5)


def worker(age_s: float, **info: Any) -> None:
    now = sql.now()
    seen = now - datetime.timedelta(seconds=age_s)
    Worker.objects.create(host="there", pid=1, slots=3, queues=["infer.v1"], started_at=now, seen_at=seen, info=info)


def test_workers_that_live_and_that_fell_silent() -> None:
    worker(1, sandbox="base+namespaces", disks=[["there", "data", 10, 100]])
    worker(60, sandbox="none", disks=[["gone", "data", 5, 50]])
    read = scrape()
    assert (read["workers", ("alive",)], read["workers", ("silent",)]) == (1, 1)
    assert read["worker_slots", ("infer.v1",)] == 3
    assert read["worker_sandboxes", ("base+namespaces",)] == 1
    assert (read["disk_free_bytes", ("data", "there")], read["disk_size_bytes", ("data", "there")]) == (10, 100)
    assert ("disk_free_bytes", ("data", "gone")) not in read
    assert ("worker_sandboxes", ("none",)) not in read


def test_repairs_versions_broker_and_backups(animals: MLModel, settings: Any, tmp_path: Any) -> None:
    settings.BACKUP_DIR = tmp_path
    assert scrape()["backup_timestamp_seconds", ()] == 0
    count("leases_recovered", 3)
    (tmp_path / "serving-site-20261124T031500.000Z.tar").touch()
    read = scrape()
    assert read["lease_recoveries_total", ()] == 3
    assert read["fenced_writes_total", ()] == 0
    assert (read["model_versions", ("healthy",)], read["model_versions", ("quarantined",)]) == (1, 0)
    assert read["broker_up", ()] == 1
    assert read["backup_timestamp_seconds", ()] > 1.7e9
    assert read["disk_free_bytes", next(key for name, key in read if name == "disk_free_bytes")] > 0


def test_requests_are_counted_by_the_name_of_their_view(counting: tally.Writer, settings: Any) -> None:
    settings.MIDDLEWARE = ["serving_site.metrics.middleware.RequestsMiddleware", *settings.MIDDLEWARE]
    client = Client()
    for path in ("/livez", "/livez", "/no/such/page", "/no/such/other"):
        client.get(path)
    client.generic("BREW", "/livez")
    counting.write()
    read = scrape()
    assert read["http_requests_total", ("200", "GET", "livez")] == 2
    assert read["http_requests_total", ("200", "other", "livez")] == 1
    assert read["http_requests_total", ("404", "GET", "none")] == 2
    assert read["http_request_seconds_count", ("livez",)] == 3
    assert RequestsMiddleware.__module__ in settings.MIDDLEWARE[0]


def test_a_scrape_asks_as_little_whatever_the_history(
    animals: MLModel, django_assert_num_queries: Callable[..., Any]
) -> None:
    """It reads totals and what is alive; no statement counts rows that have ended."""
    with connection.execute_wrapper(_refuse_history):
        scrape()
        for _ in range(3):
            queue(animals)
        scrape()


def _refuse_history(execute: Any, text: str, parameters: Any, many: bool, context: Any) -> Any:
    if text.startswith("SELECT") and any(f'FROM "{kind.table}"' in text for kind in KINDS.values()):
        assert '"status" = ' in text
        assert "LIMIT" in text
    return execute(text, parameters, many, context)


def test_without_the_database_it_says_so() -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    with connection.execute_wrapper(away):
        assert Client().get("/metrics").status_code == 503


def test_names_and_units_are_those_of_prometheus() -> None:
    """What promtool would say of names: a counter ends in _total, times are seconds, sizes are bytes."""
    text = Client().get("/metrics").content.decode()
    for family in text_string_to_metric_families(text):
        assert family.name.startswith(PREFIX)
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_ms", "_mb", "_percent", "_count", "_sum"))
