"""The single checks of the gate on figures that are written down here: numbers, grace and floors."""

import uuid
from typing import Any

import pytest

from mlmodels import gate, gate_checks, gate_run
from mlmodels.gate_checks import Check

LIMITS: dict[str, Any] = {**gate.DEFAULTS}
TRUTHS = [float(one) for one in range(200)]


def numbers(r2: float, mae: float, rmse: float, failed_rows: int = 0) -> dict[str, Any]:
    return {"rows": 200 - failed_rows, "failed_rows": failed_rows, "metrics": {"r2": r2, "mae": mae, "rmse": rmse}}


def classes(accuracy: float, balanced: float, log_loss: float) -> dict[str, Any]:
    metrics = {"accuracy": accuracy, "balanced_accuracy": balanced, "log_loss": log_loss}
    return {"rows": 20, "failed_rows": 0, "metrics": metrics}


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


@pytest.mark.parametrize(
    ("mine", "names"),
    [
        (numbers(0.80, 10.0, 12.0), []),
        (numbers(0.791, 10.4, 12.5), []),
        (numbers(0.789, 10.0, 12.0), ["r2"]),
        (numbers(0.80, 10.6, 12.0), ["mae"]),
        (numbers(0.80, 10.0, 12.7), ["rmse"]),
        (numbers(0.80, 10.0, 12.0, failed_rows=1), ["answered rows"]),
        (numbers(0.10, 30.0, 40.0), ["r2", "mae", "rmse"]),
    ],
)
def test_numbers_may_be_a_little_worse_and_no_more(mine: dict[str, Any], names: list[str]) -> None:
    assert failed(gate_checks.figures(mine, numbers(0.80, 10.0, 12.0), TRUTHS, LIMITS)) == names


def test_a_live_version_that_is_never_wrong_is_met_by_one_that_is_hardly_ever() -> None:
    assert failed(gate_checks.figures(numbers(1.0, 1e-6, 1e-6), numbers(1.0, 0.0, 0.0), TRUTHS, LIMITS)) == []
    assert failed(gate_checks.figures(numbers(1.0, 1e-6, 0.1), numbers(1.0, 0.0, 0.0), TRUTHS, LIMITS)) == ["rmse"]


@pytest.mark.parametrize(
    ("mine", "names"),
    [
        (classes(0.90, 0.90, 0.30), []),
        (classes(0.85, 0.875, 0.30), []),  # one row of twenty; one of the five of the smallest class is 0.1
        (classes(0.849, 0.875, 0.30), ["accuracy"]),
        (classes(0.90, 0.79, 0.30), ["balanced accuracy"]),
        (classes(0.90, 0.90, 0.43), ["log loss"]),
    ],
)
def test_classes_have_a_grace_of_one_row(mine: dict[str, Any], names: list[str]) -> None:
    truths = ["cat"] * 15 + ["dog"] * 5
    assert failed(gate_checks.figures(mine, classes(0.90, 0.90, 0.30), truths, LIMITS)) == names


def test_a_floor_holds_whatever_is_live() -> None:
    limits = {**LIMITS, "min_r2": 0.9}
    checks = gate_checks.figures(numbers(0.8, 1.0, 2.0), numbers(0.1, 9.0, 9.0), TRUTHS, limits)
    assert failed(checks) == ["least r2"]
    assert checks[0].sentence == "R² is 0.8; at least 0.9 is wanted whatever is live."
    assert failed(gate_checks.figures(numbers(0.9, 1.0, 2.0), None, TRUTHS, limits)) == []


@pytest.mark.parametrize(
    ("mine", "theirs", "passed"),
    [
        ([3.0, 30.0, 3.0], [2.0, 2.0, 2.0], True),  # the median, below the floor
        ([9.9], [0.1], True),
        ([10.1], [0.1], False),
        ([39.0], [20.0], True),
        ([41.0], [20.0], False),
        ([41.0], None, True),
        ([], [], True),
    ],
)
def test_speed_counts_by_factor_above_a_floor(mine: list[float], theirs: list[float] | None, passed: bool) -> None:
    assert gate_checks.latency(mine, theirs, LIMITS).passed is passed


def test_a_class_answered_otherwise_is_as_far_as_the_probabilities_are() -> None:
    cat = {"label": "cat", "probabilities": {"cat": 0.9, "dog": 0.1}}
    dog = {"label": "dog", "probabilities": {"cat": 0.4, "dog": 0.6}}
    sure = {"label": "cat", "probabilities": {"cat": 0.6, "dog": 0.4}}
    assert gate_run.distance(cat, sure, None) == 0
    assert gate_run.distance(dog, cat, None) == pytest.approx(0.5)
    assert gate_run.distance(None, cat, None) is None
    assert gate_run.distance(cat, None, None) == 0


def test_a_number_is_answered_otherwise_when_it_is_further_off_than_the_live_version_usually_is() -> None:
    assert gate_run.distance({"value": 12.0}, {"value": 10.0}, 2.5) == 0
    assert gate_run.distance({"value": 15.0}, {"value": 10.0}, 2.5) == 2
    assert gate_run.distance({"value": 15.0}, {"value": 10.0}, None) == 0


def test_the_text_of_a_report_is_bounded_and_ends_with_its_summary() -> None:
    worst = [{"prediction": str(uuid.uuid4()), "distance": 1 / (one + 1)} for one in range(100)]
    checks = [gate_checks.good("leak", "0 rows", "", "It saw none."), gate_checks.bad("replay", "", "", "They differ.")]
    told = [check.as_dict() for check in checks]
    report = {"checks": told, "replay": {"disagreements": worst}, "summary": "It is refused."}
    lines = gate.as_text(report).splitlines()
    assert lines[:2] == ["pass  leak    It saw none.", "FAIL  replay  They differ."]
    assert lines[2] == f"      prediction {worst[0]['prediction']} differs by 1"
    assert lines[-2:] == ["      … and 90 more in the report", "It is refused."]
    assert len(lines) == 14


@pytest.mark.parametrize(
    ("mine", "theirs", "better"),
    [
        ({"accuracy": 0.9, "log_loss": 0.3}, {"accuracy": 0.8, "log_loss": 0.1}, True),
        ({"accuracy": 0.9, "log_loss": 0.3}, {"accuracy": 0.9, "log_loss": 0.4}, True),
        ({"accuracy": 0.9, "log_loss": 0.3}, {"accuracy": 0.9, "log_loss": 0.3}, False),
        ({"rmse": 1.0}, {"rmse": 1.1}, True),
        ({"rmse": 1.1}, {"rmse": 1.1}, False),
        ({}, {}, False),
        ({"rmse": 1.0}, None, True),
    ],
)
def test_better_is_what_is_right_more_often_or_as_often_and_surer(mine: Any, theirs: Any, better: bool) -> None:
    assert gate.is_better({"candidate": mine, "live": theirs}) is better
