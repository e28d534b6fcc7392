"""How a version did on rows that it had never seen: ROC curves, calibration, and what is left of a number."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.safestring import SafeString

from serving_site.charts import frame
from serving_site.words import number, percent

MOST_CURVES = 5
"""More could not be told apart."""


def roc(curves: Sequence[Mapping[str, Any]], titles: Mapping[str, str] | None = None) -> SafeString:
    """How many of a class are found at the price of how many false alarms; of many classes the weakest are drawn."""
    if not curves:
        return SafeString("")
    titles = titles or {}
    ordered = sorted(curves, key=lambda curve: float(curve["auc"]))
    drawn = ordered[:MOST_CURVES]
    x, y = frame.share_axis("false alarms"), frame.share_axis("found")
    paths = [frame.line(x, y, curve["points"], f"series s{place}") for place, curve in enumerate(drawn)]
    diagonal = frame.line(x, y, [(0, 0), (1, 1)], "diagonal")
    names = [titles.get(curve["class"], str(curve["class"])) for curve in ordered]
    areas = [f"{float(curve['auc']):.3f}" for curve in ordered]
    said = ", ".join(f"{name} {area}" for name, area in zip(names[:MOST_CURVES], areas, strict=False))
    left_out = f", the {MOST_CURVES} weakest of {len(curves)} classes" if len(curves) > MOST_CURVES else ""
    keys = [(f"series s{place}", f"{names[place]} ({areas[place]})", "") for place in range(len(drawn))]
    return frame.figure(
        f"ROC curves{left_out}",
        frame.plot(x, y, f"ROC curves; area under each: {said}.", frame.stretched(diagonal, *paths), css="square"),
        frame.legend([*keys, ("diagonal", "guessing (0.500)", "")]),
        frame.numbers(["class", "area under the curve"], list(zip(names, areas, strict=True))),
    )


def calibration(bins: Sequence[Sequence[float]]) -> SafeString:
    """What was right among the cases the model was so sure of; each of `bins` is [mean predicted, share right, n]."""
    filled = [(float(said), float(right), int(n)) for said, right, n in bins if n and right is not None]
    if not filled:
        return SafeString("")
    x, y = frame.share_axis("how sure it was"), frame.share_axis("how often right")
    most = max(n for *_, n in filled)
    points = frame.joined(
        frame.dots(
            x,
            y,
            [(said, right, f"{percent(said)} sure: right in {percent(right)} of {n:,}")],
            "point",
            _radius(n, most),
        )
        for said, right, n in filled
    )
    diagonal = frame.line(x, y, [(0, 0), (1, 1)], "diagonal")
    through = frame.line(x, y, [(said, right) for said, right, _ in filled], "through")
    words = ", ".join(f"{percent(said)} sure, {percent(right)} right" for said, right, _ in filled)
    return frame.figure(
        "Calibration: a larger point stands for more cases",
        frame.plot(x, y, f"Calibration: {words}.", frame.stretched(diagonal, through), points, css="square"),
        frame.legend([("through", "measured", ""), ("diagonal", "as sure as it is right", "")]),
        frame.numbers(
            ["how sure it was", "how often right", "cases"],
            [(percent(said), percent(right), f"{n:,}") for said, right, n in filled],
        ),
    )


def _radius(n: int, most: int) -> float:
    return round(3 + 6 * math.sqrt(n / most), 1)


def residuals(points: Sequence[Sequence[float]], unit: str = "") -> SafeString:
    """Each case's estimate beside what it really was; on the diagonal they are the same."""
    pairs = [(float(estimate), float(actual)) for estimate, actual in points]
    if not pairs:
        return SafeString("")
    behind = f" ({unit})" if unit else ""
    ends = [value for pair in pairs for value in pair]
    x, y = (frame.axis(f"{what}{behind}", ends, loose=False) for what in ("estimated", "actual"))
    drawn = [(a, b, f"estimated {number(a)}, actual {number(b)}") for a, b in pairs]
    diagonal = frame.line(x, y, [(x.low, x.low), (x.high, x.high)], "diagonal")
    off = sorted(abs(a - b) for a, b in pairs)[len(pairs) // 2]
    return frame.figure(
        "Estimated and actual",
        frame.plot(
            x, y, f"Estimated and actual values of {len(pairs)} cases; half are off by less than {number(off)}.",
            frame.stretched(diagonal), frame.dots(x, y, drawn, "cloud", 3), css="square",
        ),
        frame.legend([("diagonal", "estimated exactly", "")]),
        frame.numbers(
            ["estimated", "actual", "off by"], [(number(a), number(b), number(a - b)) for a, b in sorted(pairs)]
        ),
    )  # fmt: skip


def residual_histogram(bins: Sequence[Sequence[float]], unit: str = "") -> SafeString:
    """How many cases were off by how much; each of `bins` is [low, high, n]."""
    if not bins:
        return SafeString("")
    behind = f" ({unit})" if unit else ""
    x = frame.axis(
        f"estimated minus actual{behind}", [end for low, high, _ in bins for end in (low, high)], loose=False
    )
    y = frame.axis("cases", [0, *(n for *_, n in bins)], whole=True)
    words = [f"{number(low)} to {number(high)}" for low, high, _ in bins]
    bars = [
        frame.bar(x, y, low, high, n, "bar", f"{text}: {int(n):,}")
        for text, (low, high, n) in zip(words, bins, strict=True)
    ]
    zero = frame.line(x, y, [(0, y.low), (0, y.high)], "diagonal") if x.low <= 0 <= x.high else SafeString("")
    most = max(range(len(bins)), key=lambda place: bins[place][2])
    return frame.figure(
        "How far off",
        frame.plot(x, y, f"Most cases are off by {words[most]}.", *bars, frame.stretched(zero), css="low"),
        frame.numbers(["off by", "cases"], [(text, f"{int(n):,}") for text, (*_, n) in zip(words, bins, strict=True)]),
    )
