"""The checker itself: it is silent about a kept promise and names every way of breaking it."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests import zoo
from tests.faults.history import Entry, Event, Poll, Recorder, Submit, read, violations

KEY = uuid.UUID("01900000-0000-7000-8000-000000000001")


def sent(**changes: Any) -> Submit:
    fields: dict[str, Any] = {"key": "form", "slug": "zoo-ok", "x": 1.5, "code": 302, "id": str(KEY)}
    return Submit(**{"at": 100.0, "s": 0.1, **fields, **changes})


def seen(**changes: Any) -> Poll:
    return Poll(**{"at": 101.0, "s": 0.1, "id": str(KEY), "code": 200, "status": "succeeded", **changes})


def row(**changes: Any) -> dict[str, Any]:
    kept = {"id": KEY, "slug": "zoo-ok", "status": "succeeded", "reason_code": "", "error": "", "attempts": 1}
    return {**kept, "lost": 0, "inputs": [{"x": 1.5}], "outputs": [zoo.expected(1.5)], **changes}


ONCE = [{"id": KEY}]
DOWN = [Event(99.0, "database_down"), Event(100.5, "database_up")]


@pytest.mark.parametrize(
    ("entries", "rows", "outcomes"),
    [
        ([sent(), seen(status="queued"), seen()], [row()], ONCE),
        ([sent(), sent()], [row()], ONCE),
        ([*DOWN, sent(code=503, id="", at=99.5), sent(), seen(code=503, status="", at=100.2)], [row()], ONCE),
        (
            [sent(slug="zoo-poison", x=zoo.POISON_NAN)],
            [row(slug="zoo-poison", status="failed", reason_code="bad_output", inputs=[{"x": zoo.POISON_NAN}])],
            ONCE,
        ),
    ],
)
def test_a_kept_promise_is_found_kept(entries: list[Entry], rows: list[Any], outcomes: list[Any]) -> None:
    assert violations(entries, rows, outcomes) == []


@pytest.mark.parametrize(
    ("entries", "rows", "outcomes", "found"),
    [
        ([sent()], [], [], "accepted and is gone"),
        ([sent()], [row(status="running")], [], "is running"),
        ([sent()], [row()], [], "has 0 recorded outcomes"),
        ([sent()], [row()], ONCE * 2, "has 2 recorded outcomes"),
        ([sent()], [row(status="failed", reason_code="raised")], ONCE, "failed raised"),
        ([sent()], [row(outputs=[zoo.expected(-1.5)])], ONCE, "answered"),
        ([sent()], [row(outputs=[])], ONCE, "answered"),
        ([sent()], [row(inputs=[{"x": 2.0}])], ONCE, "sent was 1.5"),
        ([sent(), sent(id=str(uuid.uuid4()))], [row()], ONCE, "one form became"),
        ([sent()], [row(), row(id=uuid.uuid4())], ONCE, "2 rows came of 1 forms"),
        ([sent(slug="zoo-poison", x=zoo.POISON_NAN)], [row(inputs=[{"x": zoo.POISON_NAN}])], ONCE, "answered"),
        ([sent(), seen(status="failed")], [row()], ONCE, "was shown as failed and is succeeded"),
        ([sent(), seen(code=404, status="")], [row()], ONCE, "was answered 404"),
        ([sent(), seen(trouble="the page shows a stack trace")], [row()], ONCE, "stack trace"),
        ([sent(code=500, id="")], [], [], "was answered 500"),
        ([sent(code=0, id="")], [], [], "was answered not at all"),
        ([sent(code=503, id="")], [], [], "was answered 503"),
        ([*DOWN, sent(code=503, id="", at=100.7)], [], [], "was answered 503"),
        ([*DOWN, sent(code=500, id="", at=99.5)], [], [], "was answered 500"),
    ],
)
def test_a_broken_promise_is_named(entries: list[Entry], rows: list[Any], outcomes: list[Any], found: str) -> None:
    assert any(found in sentence for sentence in violations(entries, rows, outcomes))


def test_the_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "log")
    recorder.record(sent())
    recorder.record(seen())
    recorder.event("database_down")
    recorder.close()
    first, second, third = read(tmp_path / "log")
    assert (first, second) == (sent(), seen())
    assert isinstance(third, Event)
    assert third.name == "database_down"
