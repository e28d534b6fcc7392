"""Alerts and dashboard ask for metrics that exist, and each alert is tested and says what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.cache import cache
from django.test import Client

import serving_site.metrics.middleware  # noqa: F401 - as the web process loads it where METRICS is on

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "deploy" / "monitoring"
OURS = re.compile(r"\bserving_site_\w+")
JOBS = {"serving_site_public"}


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((FOLDER / "rules.yml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def asked() -> dict[str, set[str]]:
    """By file: the metrics of the site that its expressions name."""
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    shown = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    texts = {
        "rules": " ".join(rule["expr"] for rule in rules()),
        "tests": (FOLDER / "rules.test.yml").read_text(),
        "dashboard": shown,
    }
    return {name: set(OURS.findall(text)) - JOBS for name, text in texts.items()}


@pytest.mark.django_db
def test_every_metric_that_is_asked_for_exists(settings: Any) -> None:
    cache.clear()
    settings.METRICS = True
    text = Client().get("/metrics").content.decode()
    exposed = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    known = {
        name + ending
        for name, kind in exposed.items()
        for ending in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    assert len(known) > 20
    for name, metrics in asked().items():
        assert len(metrics) > 10
        assert metrics - known == set(), name


def test_each_alert_says_what_to_do_and_is_tested_both_ways() -> None:
    told = yaml.safe_load((FOLDER / "rules.test.yml").read_text())
    healthy, ill = told["tests"]
    names = {rule["alert"] for rule in rules()}
    assert {one["alertname"] for one in healthy["alert_rule_test"]} == names
    assert {name for one in ill["promql_expr_test"] for name in re.findall(r'alertname="(\w+)"', one["expr"])} == names
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert len(rule["annotations"]["runbook"]) > 80, rule["alert"]


def test_the_public_proxy_passes_no_metrics() -> None:
    public = (REPOSITORY / "deploy" / "nginx" / "site.conf").read_text()
    assert re.search(r"location = /metrics \{\s*return 404;", public)
    private = (FOLDER / "nginx.conf").read_text()
    assert re.findall(r"listen ([^;]+);", private) == ["127.0.0.1:8011"]
