"""Figures of how good answers are, held against scikit-learn's."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import calibration, metrics

from mlmodels import measures

CLASSES = ["cat", "dog", "eel"]
near = pytest.approx


def answer(probabilities: list[float], classes: list[str]) -> dict[str, Any]:
    named = dict(zip(classes, probabilities, strict=True))
    return {"label": max(named, key=lambda name: named[name]), "probabilities": named}


@st.composite
def judged(draw: Any, classes: list[str] = CLASSES) -> tuple[list[dict[str, Any]], list[str]]:
    """Outputs, many with equal scores, and truths in which every class occurs."""
    rows = draw(st.integers(len(classes), 60))
    parts = st.lists(st.integers(1, 9), min_size=len(classes), max_size=len(classes))
    outputs = [
        answer([one / sum(p) for one in p], classes) for p in draw(st.lists(parts, min_size=rows, max_size=rows))
    ]
    truths = draw(st.lists(st.sampled_from(classes), min_size=rows, max_size=rows))
    assume(set(truths) == set(classes))
    return outputs, truths


def matrix(outputs: list[dict[str, Any]], classes: list[str]) -> Any:
    return np.array([[output["probabilities"][name] for name in classes] for output in outputs])


@settings(deadline=None)
@given(judged())
def test_several_classes_are_judged_as_by_scikit_learn(case: tuple[list[dict[str, Any]], list[str]]) -> None:
    outputs, truths = case
    labels, given_ = [output["label"] for output in outputs], matrix(outputs, CLASSES)
    report = measures.of_classes(CLASSES, outputs, truths)
    found = report["metrics"]
    assert report["rows"] == len(truths)
    assert found["accuracy"] == near(metrics.accuracy_score(truths, labels), rel=1e-5)
    assert found["balanced_accuracy"] == near(metrics.balanced_accuracy_score(truths, labels), rel=1e-5)
    assert found["log_loss"] == near(metrics.log_loss(truths, given_, labels=CLASSES), rel=1e-5)
    assert found["auc"] == near(metrics.roc_auc_score(truths, given_, multi_class="ovr"), rel=1e-5)
    counts = metrics.confusion_matrix(truths, labels, labels=CLASSES)
    assert report["confusion"] == {"classes": CLASSES, "counts": counts.tolist()}
    assert [curve["class"] for curve in report["roc"]] == CLASSES


@settings(deadline=None)
@given(judged(["no", "yes"]))
def test_two_classes_have_one_curve_and_scikit_learns_auc(case: tuple[list[dict[str, Any]], list[str]]) -> None:
    outputs, truths = case
    scores = matrix(outputs, ["no", "yes"])[:, 1]
    report = measures.of_classes(["no", "yes"], outputs, truths)
    assert report["metrics"]["auc"] == near(metrics.roc_auc_score([one == "yes" for one in truths], scores), rel=1e-5)
    (curve,) = report["roc"]
    false, true, _ = metrics.roc_curve([one == "yes" for one in truths], scores, drop_intermediate=False)
    whole, _ = measures.roc(list(scores), [one == "yes" for one in truths]) or ([], 0)
    assert whole == [[x, y] for x, y in zip(false, true, strict=True)]
    assert curve["points"][0] == [0, 0]
    assert curve["points"][-1] == [1, 1]
    assert np.trapezoid(*np.array(curve["points"]).T[::-1]) == near(curve["auc"], abs=1e-4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80))
def test_calibration_has_scikit_learns_bins(rows: list[tuple[float, bool]]) -> None:
    confidences, right = [one for one, _ in rows], [one for _, one in rows]
    assume(not any(0 < (one * 10) % 1 < 1e-6 or (one * 10) % 1 > 1 - 1e-6 for one in confidences))
    bins = measures.calibration(confidences, right)
    share, mean = calibration.calibration_curve(right, confidences, n_bins=10)
    assert [[m, s] for m, s, _ in bins] == [near([m, s], rel=1e-5) for m, s in zip(mean, share, strict=True)]
    assert sum(count for _, _, count in bins) == len(rows)


def test_the_calibration_error_weighs_bins_by_their_rows() -> None:
    assert measures.calibration_error([[0.25, 0.5, 3], [0.75, 0.75, 1]]) == near(0.1875)


NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=60))
def test_numbers_are_judged_as_by_scikit_learn(rows: list[tuple[float, float]]) -> None:
    predicted, truths = [one for one, _ in rows], [one for _, one in rows]
    report = measures.of_numbers(predicted, truths)
    found = report["metrics"]
    assert found["mae"] == near(metrics.mean_absolute_error(truths, predicted), rel=1e-5)
    assert found["rmse"] == near(metrics.root_mean_squared_error(truths, predicted), rel=1e-5)
    assert found["r2"] == near(metrics.r2_score(truths, predicted), rel=1e-4, abs=1e-4)
    assert report["residuals"]["points"] == [[near(p, rel=1e-5), near(t, rel=1e-5)] for p, t in rows]
    assert sum(count for _, _, count in report["residuals"]["histogram"]) == len(rows)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert measures.quantile(values, share) == near(float(np.quantile(values, share)), rel=1e-6, abs=1e-6)


def test_with_one_class_among_the_truths_there_is_no_auc() -> None:
    report = measures.of_classes(["no", "yes"], [answer([0.2, 0.8], ["no", "yes"])] * 3, ["yes"] * 3)
    assert report["metrics"] == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "log_loss": near(-math.log(0.8), rel=1e-5),
        "ece": near(0.2),
    }
    assert report["roc"] == []


def test_a_class_that_the_model_does_not_know_counts_as_wrong_and_is_shown() -> None:
    report = measures.of_classes(["no", "yes"], [answer([0.2, 0.8], ["no", "yes"])] * 2, ["yes", "maybe"])
    assert report["metrics"]["accuracy"] == 0.5
    assert report["confusion"] == {"classes": ["no", "yes", "maybe"], "counts": [[0, 0, 0], [0, 1, 0], [0, 1, 0]]}


def test_a_constant_truth_is_explained_by_meeting_it() -> None:
    assert measures.r2([2.0, 2.0], [2.0, 2.0]) == 1
    assert measures.r2([2.0, 3.0], [2.0, 2.0]) == 0


def test_what_is_drawn_is_bounded() -> None:
    rows = 3000
    outputs = [answer([(one % 997 + 1) / 1000, 1 - (one % 997 + 1) / 1000], ["no", "yes"]) for one in range(rows)]
    report = measures.of_classes(["no", "yes"], outputs, ["yes" if one % 3 else "no" for one in range(rows)])
    assert len(report["roc"][0]["points"]) == measures.ROC_POINTS
    numbers = measures.of_numbers([float(one) for one in range(rows)], [one * 1.1 for one in range(rows)])
    assert len(numbers["residuals"]["points"]) == measures.RESIDUAL_POINTS
    assert len(numbers["residuals"]["histogram"]) == measures.HISTOGRAM_BINS
    names = [f"c{one}" for one in range(measures.DRAWN_CLASSES + 1)]
    many = measures.of_classes(names, [answer([1.0] + [0.0] * (len(names) - 1), names)] * 2, names[:2])
    assert "confusion" not in many
