"""What /metrics says of a real install: the same from each web process, whoever did the work."""

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import zoo
from tests.installs import Install
from tests.processes import Process, Web, wait_until
from tests.rows import ended
from tests.services import PostgreSQL, RabbitMQ

COUNTED = ("serving_site_predictions_total", "serving_site_jobs_total", "serving_site_executors_lost_total")


@pytest.fixture(scope="module")
def install(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> Iterator[Install]:
    install = Install.distributed_on(rabbitmq, postgres, METRICS="true")
    yield install
    install.close()


def scrape(web: Web) -> dict[str, float]:
    """Samples as they are written, by name and labels."""
    with urllib.request.urlopen(f"{web.url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(web: Web) -> dict[str, float]:
    return {name: value for name, value in scrape(web).items() if name.startswith(COUNTED)}


def test_every_web_process_tells_what_the_workers_did(install: Install) -> None:
    web, workers = install.start(workers=1)
    other = install.web()
    install.serve(["ok", "poison"])
    alice = install.log_in(web)
    keys = [alice.submit("zoo-ok", x=str(number)) for number in range(3)]
    keys.append(alice.submit("zoo-poison", x=str(zoo.POISON_EXIT)))
    for key in keys:
        ended(install, key)
    expected = {
        "serving_site_predictions_total zoo-ok succeeded 1": 3,
        "serving_site_predictions_total zoo-poison failed 1": 1,
        "serving_site_executors_lost_total died zoo-poison": 3,
        "serving_site_jobs_total infer.v1 succeeded": 3,
        "serving_site_jobs_total infer.v1 failed": 1,
        "serving_site_jobs_total check.v1 succeeded": 2,
    }
    wait_until(lambda: expected.items() <= counted(web).items(), 15, lambda: str(counted(web)))
    assert counted(other) == counted(web)
    _lives(other, workers)
    workers[0].stop()
    _goes(install, web, other)


def _lives(web: Web, workers: list[Process]) -> None:
    read = scrape(web)
    assert (read["serving_site_workers alive"], read["serving_site_workers silent"]) == (len(workers), 0)
    assert read["serving_site_worker_slots infer.v1"] == 2
    assert read["serving_site_broker_up"] == 1
    assert read["serving_site_queue_jobs infer.v1 queued"] == 0
    assert read["serving_site_prediction_compute_seconds_count zoo-ok"] == 3
    assert read["serving_site_model_load_seconds_count zoo-ok"] >= 1
    assert sum(value for name, value in read.items() if name.startswith("serving_site_worker_sandboxes")) == 1
    assert sum(value for name, value in read.items() if name.startswith("serving_site_http_requests_total")) > 4


def _goes(install: Install, web: Web, other: Web) -> None:
    """Without the worker the totals stay, and what waits grows old; what a web process does is told by all of them."""
    before = counted(other)
    alice = install.log_in(other)
    key = alice.submit("zoo-ok", x="7")
    read = scrape(web)
    assert (read["serving_site_workers alive"], read["serving_site_worker_slots infer.v1"]) == (0, 0)
    assert read["serving_site_queue_jobs infer.v1 queued"] == 1
    assert counted(web) == before
    wait_until(lambda: scrape(web)["serving_site_queue_oldest_seconds infer.v1"] > 1, 10, "the age does not grow")
    alice.post(f"/predictions/{key}/cancel/", {}, token_from=f"/predictions/{key}/")
    name = "serving_site_predictions_total zoo-ok canceled 1"
    wait_until(lambda: counted(web).get(name) == 1, 10, lambda: str(counted(web)))
