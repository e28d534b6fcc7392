"""Curves of training runs laid over each other, and figures from version to version."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from serving_site.charts import frame
from serving_site.words import number


@dataclass(frozen=True)
class Line:
    """One run of a chart; an `address` makes its name in the legend a link."""

    name: str
    points: Sequence[frame.Point]
    address: str = ""

    @property
    def finite(self) -> list[frame.Point]:
        return [point for point in self.points if all(map(math.isfinite, point))]


def lines(title: str, runs: Sequence[Line], *, across: str, up: str) -> SafeString:
    """`runs` over whole numbers such as epochs: the first one strong, the others behind it, each dashed its own way."""
    drawn = [run for run in runs if run.finite]
    if not drawn:
        return SafeString("")
    x = frame.axis(across, [a for run in drawn for a, _ in run.finite], whole=True, loose=False)
    y = frame.axis(up, [b for run in drawn for _, b in run.finite])
    styles = {id(run): "now" if run is runs[0] else f"earlier e{runs.index(run)}" for run in drawn}
    paths = [frame.line(x, y, run.finite, styles[id(run)]) for run in reversed(drawn)]
    ends = [(*run.finite[-1], f"{run.name}: {number(run.finite[-1][1])}") for run in drawn[:1]]
    said = "; ".join(f"{run.name} ends at {number(run.finite[-1][1])}" for run in drawn)
    return frame.figure(
        title,
        frame.plot(x, y, f"{title}. {said}.", frame.stretched(*paths), frame.dots(x, y, ends, "end")),
        frame.legend([(styles[id(run)], run.name, run.address) for run in drawn]),
        frame.numbers([across, *(run.name for run in drawn)], _rows(drawn)),
    )


def _rows(drawn: Sequence[Line]) -> list[list[str]]:
    values = [dict(run.finite) for run in drawn]
    places = sorted({across for of_run in values for across in of_run})
    return [[number(at), *(number(of_run[at]) if at in of_run else "" for of_run in values)] for at in places]


def versions(title: str, found: Sequence[tuple[int, float]], *, live: int | None = None) -> SafeString:
    """One figure of each version as (number, value), joined in their order; the live one stands out."""
    points = sorted(found)
    x = frame.axis("version", [version for version, _ in points], whole=True, loose=False, wanted=6)
    y = frame.axis("", [value for _, value in points], wanted=3)
    ordinary = [(v, value, f"version {v}: {number(value)}") for v, value in points if v != live]
    strong = [(v, value, f"version {v}, live: {number(value)}") for v, value in points if v == live]
    said = ", ".join(f"version {version} {number(value)}" for version, value in points[-5:])
    return frame.figure(
        title,
        frame.plot(
            x, y, f"{title}: {said}.",
            frame.stretched(frame.line(x, y, points, "through")),
            frame.dots(x, y, ordinary, "point"),
            frame.dots(x, y, strong, "point live", 6),
            css="low",
        ),
        frame.numbers(["version", title], [(f"{v}, live" if v == live else str(v), number(at)) for v, at in points]),
    )  # fmt: skip
