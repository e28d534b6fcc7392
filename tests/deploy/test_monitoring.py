"""The flag `monitoring` on machines: Prometheus asks the site on loopback, and nobody outside can."""

import json
from typing import Any

import pytest

from tests.deploy.lab.cluster import Cluster
from tests.processes import wait_until

SERVING = "http://127.0.0.1:9090/api/v1"


@pytest.fixture(scope="module")
def watched(cluster: Cluster) -> Cluster:
    """The cluster, played once more with the flag."""
    cluster.play.run("site.yml", "-e", '{"monitoring": true}')
    cluster.site.await_ready()
    for host in (cluster.production, cluster.worker):  # what is asked here is asked as an operator would
        host.run("apt-get -qq update && apt-get -qq install --yes --no-install-recommends curl >/dev/null")
    return cluster


def ask(cluster: Cluster, path: str) -> Any:
    return json.loads(cluster.production.run(f"curl -fsS '{SERVING}/{path}'"))["data"]


def healths(cluster: Cluster) -> dict[str, str]:
    targets = ask(cluster, "targets?state=active")["activeTargets"]
    return {one["labels"]["job"]: one["health"] for one in targets}


def value(cluster: Cluster, query: str) -> float:
    found = ask(cluster, f"query?query={query}")["result"]
    return float(found[0]["value"][1]) if found else -1.0


def test_prometheus_sees_the_site_the_public_address_and_the_worker(watched: Cluster) -> None:
    up = {"serving_site": "up", "serving_site_public": "up", "prometheus": "up"}
    wait_until(lambda: healths(watched) == up, 90, lambda: str(healths(watched)))
    wait_until(lambda: value(watched, "probe_success") == 1, 60, "the public address is not answered")
    wait_until(lambda: value(watched, "sum(serving_site_workers)") >= 2, 60, "no workers are seen")
    assert value(watched, "probe_ssl_earliest_cert_expiry") > 0
    rules = ask(watched, "rules")["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}


def test_a_prediction_is_counted(watched: Cluster) -> None:
    watched.site.predict(watched.person())
    wait_until(lambda: value(watched, "sum(serving_site_predictions_total)") >= 1, 60, "it is not counted")


def test_nobody_outside_reaches_any_of_it(watched: Cluster) -> None:
    address = watched.production.address
    reached = watched.worker.attempt(f"curl -sk -o /dev/null -w '%{{http_code}}' https://{address}/metrics")
    assert reached.stdout.strip() == "404"
    for port in (9090, 9115, 8011):
        assert watched.worker.attempt(f"curl -s --max-time 3 http://{address}:{port}/metrics").returncode != 0
    listening = watched.production.run("ss -Hltn '( sport = :9090 or sport = :9115 or sport = :8011 )'")
    assert {line.split()[3].rpartition(":")[0] for line in listening.splitlines()} == {"127.0.0.1"}


def test_promtool_agrees_with_each_alert(watched: Cluster) -> None:
    watched.production.run("promtool check config /etc/prometheus/prometheus.yml")
    release = "/srv/serving-site/current/deploy/monitoring"
    assert "SUCCESS" in watched.production.run(f"cd {release} && promtool test rules rules.test.yml 2>&1")


def test_a_second_play_changes_nothing_and_the_flag_takes_it_away_again(watched: Cluster) -> None:
    again = watched.play.run("site.yml", "-e", '{"monitoring": true}')
    assert {host: counts["changed"] for host, counts in again.items()} == dict.fromkeys(again, 0)
    watched.play.run("site.yml")
    watched.site.await_ready()
    assert watched.production.attempt("curl -s --max-time 3 http://127.0.0.1:9090/").returncode != 0
    assert watched.production.attempt("curl -s --max-time 3 http://127.0.0.1:8011/metrics").returncode != 0
