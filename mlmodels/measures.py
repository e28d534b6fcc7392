"""How good answers are, judged against what is true: figures and everything that draws them, as plain JSON.

Pure Python: the worker that judges imports neither numpy nor torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Point = list[float]

METRICS = ("accuracy", "balanced_accuracy", "auc", "log_loss", "ece", "r2", "mae", "rmse")
"""In the order in which people read them; a database keeps no order."""
CALIBRATION_BINS = 10
ROC_POINTS = 100
RESIDUAL_POINTS = 500
HISTOGRAM_BINS = 20
DRAWN_CLASSES = 50
"""With more classes than this no confusion matrix is kept."""
DRAWN_CURVES = 20
LEAST_PROBABILITY = 1e-12
"""What the log loss takes a smaller probability for, so that one sure mistake is not infinitely bad."""


def of_classes(classes: Sequence[str], outputs: Sequence[Mapping[str, Any]], truths: Sequence[str]) -> dict[str, Any]:
    """The report on outputs of {"label", "probabilities"}, one per truth, of which there is at least one.

    {"rows", "metrics": {accuracy, balanced_accuracy, auc?, log_loss, ece}, "confusion"?, "roc", "calibration"}; without
    two classes among the truths there is no AUC.
    """
    labels = [output["label"] for output in outputs]
    given = [output["probabilities"] for output in outputs]
    right = [label == truth for label, truth in zip(labels, truths, strict=True)]
    bins = calibration([one[label] for one, label in zip(given, labels, strict=True)], right)
    curves = _curves(classes, given, truths)
    metrics = {
        "accuracy": sum(right) / len(right),
        "balanced_accuracy": balanced_accuracy(labels, truths),
        "log_loss": log_loss([one.get(truth, 0.0) for one, truth in zip(given, truths, strict=True)]),
        "ece": calibration_error(bins),
    }
    if curves:
        metrics["auc"] = math.fsum(curve["auc"] for curve in curves) / len(curves)
    report: dict[str, Any] = {
        "rows": len(truths),
        "metrics": {name: tidy(value) for name, value in metrics.items()},
        "roc": curves[:DRAWN_CURVES],
        "calibration": bins,
    }
    if len(classes) <= DRAWN_CLASSES:
        report["confusion"] = confusion(classes, labels, truths)
    return report


def of_numbers(predicted: Sequence[float], truths: Sequence[float]) -> dict[str, Any]:
    """The report on predicted numbers: {"rows", "metrics": {mae, rmse, r2}, "residuals": {"points", "histogram"}}."""
    errors = [one - truth for one, truth in zip(predicted, truths, strict=True)]
    metrics = {
        "mae": math.fsum(map(abs, errors)) / len(errors),
        "rmse": math.sqrt(math.fsum(error * error for error in errors) / len(errors)),
        "r2": r2(predicted, truths),
    }
    points = [[tidy(one), tidy(truth)] for one, truth in zip(predicted, truths, strict=True)]
    return {
        "rows": len(truths),
        "metrics": {name: tidy(value) for name, value in metrics.items()},
        "residuals": {"points": evenly(points, RESIDUAL_POINTS), "histogram": histogram(errors)},
    }


def balanced_accuracy(labels: Sequence[str], truths: Sequence[str]) -> float:
    """The mean, over the classes that occur, of the share of a class's rows that is recognised."""
    rows = Counter(truths)
    right = Counter(truth for label, truth in zip(labels, truths, strict=True) if label == truth)
    return math.fsum(right[name] / count for name, count in rows.items()) / len(rows)


def log_loss(given_to_the_truth: Sequence[float]) -> float:
    """Minus the mean logarithm of the probabilities that were given to what is true."""
    bounded = (min(max(one, LEAST_PROBABILITY), 1.0) for one in given_to_the_truth)
    return -math.fsum(map(math.log, bounded)) / len(given_to_the_truth)


def calibration(confidences: Sequence[float], right: Sequence[bool]) -> list[Point]:
    """Per bin of equal width that holds any row: [mean confidence, share that is right, rows]."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(CALIBRATION_BINS)]
    for confidence, is_right in zip(confidences, right, strict=True):
        number = math.ceil(confidence * CALIBRATION_BINS) - 1
        bins[min(max(number, 0), CALIBRATION_BINS - 1)].append((confidence, is_right))
    return [
        [tidy(math.fsum(c for c, _ in one) / len(one)), tidy(sum(r for _, r in one) / len(one)), len(one)]
        for one in bins
        if one
    ]


def calibration_error(bins: Sequence[Point]) -> float:
    """The expected calibration error: how far confidence and share right are apart, weighted by rows."""
    rows = sum(count for _, _, count in bins)
    return math.fsum(abs(mean - share) * count for mean, share, count in bins) / rows


def confusion(classes: Sequence[str], labels: Sequence[str], truths: Sequence[str]) -> dict[str, Any]:
    """{"classes", "counts"}: one row per true class, one column per answered class."""
    names = [*classes, *sorted(set(truths) - set(classes))]
    pairs = Counter(zip(truths, labels, strict=True))
    return {"classes": names, "counts": [[pairs[truth, label] for label in names] for truth in names]}


def roc(scores: Sequence[float], is_positive: Sequence[bool]) -> tuple[list[Point], float] | None:
    """The curve from [0, 0] to [1, 1] as [false positive rate, true positive rate], and the area under it.

    None unless there are both kinds of rows. Equal scores make one step.
    """
    positives = sum(is_positive)
    negatives = len(is_positive) - positives
    if not positives or not negatives:
        return None
    ranked = sorted(zip(scores, is_positive, strict=True), key=lambda pair: -pair[0])
    points, true, false, area = [[0.0, 0.0]], 0, 0, 0.0
    for place, (score, positive) in enumerate(ranked):
        true, false = true + positive, false + (not positive)
        if place + 1 == len(ranked) or ranked[place + 1][0] != score:
            last_false, last_true = points[-1]
            points.append([false / negatives, true / positives])
            area += (points[-1][0] - last_false) * (points[-1][1] + last_true) / 2
    return points, area


def r2(predicted: Sequence[float], truths: Sequence[float]) -> float:
    """The share of the variance that is explained; of a constant truth 1 when it is met exactly, else 0."""
    mean = math.fsum(truths) / len(truths)
    spread = math.fsum((truth - mean) ** 2 for truth in truths)
    missed = math.fsum((one - truth) ** 2 for one, truth in zip(predicted, truths, strict=True))
    if not spread:
        return 0.0 if missed else 1.0
    return 1 - missed / spread


def histogram(values: Sequence[float], bins: int = HISTOGRAM_BINS) -> list[Point]:
    """[low, high, rows] for bins of equal width from the least to the greatest value; one bin where all are equal."""
    low, high = min(values), max(values)
    width = (high - low) / bins
    if not width:
        return [[tidy(low), tidy(high), len(values)]]
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1)] += 1
    return [[tidy(low + n * width), tidy(low + (n + 1) * width), count] for n, count in enumerate(counts)]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lies, interpolated."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = ordered[math.floor(place)]
    return below + (ordered[math.ceil(place)] - below) * (place - math.floor(place))


def evenly(points: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of them, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(n * (len(points) - 1) / (most - 1))] for n in range(most)]


def tidy(value: float) -> float:
    """Six significant digits: what is drawn and compared, without the noise behind."""
    return float(f"{value:.6g}")


def _curves(
    classes: Sequence[str], given: Sequence[Mapping[str, float]], truths: Sequence[str]
) -> list[dict[str, Any]]:
    """One curve per class against the rest; of two classes only the second's, because the other mirrors it."""
    curves = []
    for name in classes[1:] if len(classes) == 2 else classes:
        drawn = roc([one[name] for one in given], [truth == name for truth in truths])
        if drawn:
            points = evenly(_without_straights(drawn[0]), ROC_POINTS)
            curves.append({"class": name, "auc": tidy(drawn[1]), "points": [[tidy(x), tidy(y)] for x, y in points]})
    return curves


def _without_straights(points: Iterable[Point]) -> list[Point]:
    """Without points between two others on a level or upright line."""
    kept: list[Point] = []
    for point in points:
        while len(kept) > 1 and (kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]):
            kept.pop()
        kept.append(point)
    return kept
