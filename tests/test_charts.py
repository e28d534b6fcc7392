"""Charts: what is drawn stands where it belongs, is said in words, and can be read as a table."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from serving_site import charts
from serving_site.charts import frame


def parsed(figure: str) -> ElementTree.Element:
    return ElementTree.fromstring(figure)


def table(figure: str) -> list[list[str]]:
    """The numbers under a chart, head first."""
    rows = parsed(figure).iter("tr")
    return [["".join(cell.itertext()).strip() for cell in row] for row in rows]


def label(figure: str) -> str:
    (plot,) = (svg for svg in parsed(figure).iter("svg") if svg.get("role") == "img")
    return plot.attrib["aria-label"]


RUNS = [
    charts.Line("now", [(1, 0.9), (2, 0.5), (3, 0.25)]),
    charts.Line("of <May>", [(1, 1.0), (2, 0.75)], "/run/7/"),
]
EVERY = [
    charts.lines("Loss", RUNS, across="epoch", up="loss"),
    charts.versions("accuracy", [(1, 0.9), (2, 0.95)], live=2),
    charts.roc([{"class": "a", "points": [[0, 0], [0.1, 0.9], [1, 1]], "auc": 0.95}]),
    charts.calibration([[0.1, 0.2, 10], [0.9, 0.8, 40]]),
    charts.residuals([[1.0, 1.5], [3.0, 2.5]], "kg"),
    charts.residual_histogram([[-1, 0, 3], [0, 1, 5]], "kg"),
    charts.confusion(["a", "b"], [[8, 2], [0, 0]]),
]


@pytest.mark.parametrize("figure", EVERY)
def test_a_chart_needs_neither_script_nor_inline_style(figure: str) -> None:
    for element in parsed(figure).iter():
        assert element.tag not in ("script", "style", "foreignObject")
        assert not [name for name in element.attrib if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("figure", EVERY)
def test_everything_that_is_drawn_lies_inside_the_plot(figure: str) -> None:
    for element in parsed(figure).iter():
        for name in ("cx", "cy", "x1", "x2", "y1", "y2"):
            assert 0 <= float(element.get(name, "0").rstrip("%")) <= 100
        for point in element.get("points", "").split():
            assert all(0 <= float(part) <= 100 for part in point.split(","))


def test_runs_are_laid_over_each_other_and_the_present_one_is_strong() -> None:
    figure = charts.lines("Loss", RUNS, across="epoch", up="loss")
    lines = [line.get("class") for line in parsed(figure).iter("polyline")]
    assert lines == ["earlier e1", "now"]  # the last one drawn lies on top
    assert table(figure) == [["epoch", "now", "of <May>"], ["1", "0.9", "1"], ["2", "0.5", "0.75"], ["3", "0.25", ""]]
    assert label(figure) == "Loss. now ends at 0.25; of <May> ends at 0.75."
    assert [link.get("href") for link in parsed(figure).iter("a")] == ["/run/7/"]


def test_a_line_ends_where_its_last_number_lies() -> None:
    figure = charts.lines("Loss", [charts.Line("now", [(1, 1.0), (2, 0.5), (3, 0.0)])], across="epoch", up="loss")
    (line,) = parsed(figure).iter("polyline")
    assert line.get("points") == "0.0,0.0 50.0,50.0 100.0,100.0"


def test_runs_without_numbers_draw_nothing() -> None:
    assert charts.lines("Loss", [charts.Line("now", [])], across="epoch", up="loss") == ""
    assert charts.lines("Loss", [charts.Line("now", [(1, float("nan"))])], across="epoch", up="loss") == ""
    assert charts.roc([]) == charts.calibration([[0.5, 0, 0]]) == charts.residuals([]) == charts.confusion([], []) == ""


def test_one_epoch_and_a_flat_line_can_be_drawn() -> None:
    assert "polyline" in charts.lines("Loss", [charts.Line("now", [(1, 0.5)])], across="epoch", up="loss")
    assert "polyline" in charts.lines("Loss", [charts.Line("now", [(1, 0.0), (2, 0.0)])], across="epoch", up="loss")


def test_a_long_run_is_a_short_table_that_keeps_its_ends() -> None:
    run = charts.Line("now", [(float(epoch), 1 / epoch) for epoch in range(1, 1001)])
    rows = table(charts.lines("Loss", [run], across="epoch", up="loss"))
    assert (len(rows), rows[1][0], rows[-1][0]) == (1 + frame.MOST_TABLE_ROWS, "1", "1,000")


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ([0.0, 1.0], ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        ([0.912, 0.957], ["0.90", "0.92", "0.94", "0.96"]),
        ([3, 61], ["0", "20", "40", "60", "80"]),
        ([12_000, 47_000], ["10,000", "20,000", "30,000", "40,000", "50,000"]),
        ([5.0, 5.0], ["4.50", "4.75", "5.00", "5.25", "5.50"]),
    ],
)
def test_an_axis_has_round_marks(values: list[float], marks: list[str]) -> None:
    axis = frame.axis("", values)
    assert [axis.text(tick) for tick in axis.ticks] == marks


def test_epochs_are_marked_by_whole_numbers() -> None:
    axis = frame.axis("epoch", [1, 3], whole=True, loose=False)
    assert ([axis.text(tick) for tick in axis.ticks], axis.low, axis.high) == (["1", "2", "3"], 1, 3)


def test_the_live_version_stands_out_and_is_named() -> None:
    figure = charts.versions("accuracy", [(2, 0.95), (1, 0.9)], live=2)
    points = {circle.get("class"): circle[0].text for circle in parsed(figure).iter("circle")}
    assert points == {"point": "version 1: 0.9", "point live": "version 2, live: 0.95"}
    assert table(figure) == [["version", "accuracy"], ["1", "0.9"], ["2, live", "0.95"]]


def test_of_many_classes_the_weakest_curves_are_drawn_and_all_are_told() -> None:
    curves: list[dict[str, Any]] = [
        {"class": f"c{n}", "points": [[0, 0], [1, 1]], "auc": 0.5 + n / 20} for n in range(9)
    ]
    figure = charts.roc(curves, {"c0": "The weakest"})
    assert "ROC curves, the 5 weakest of 9 classes" in figure
    assert len([line for line in parsed(figure).iter("polyline") if "series" in line.get("class", "")]) == 5
    assert table(figure)[:3] == [["class", "area under the curve"], ["The weakest", "0.500"], ["c1", "0.550"]]
    assert len(table(figure)) == 10


def test_calibration_tells_how_many_cases_each_point_stands_for() -> None:
    figure = charts.calibration([[0.1, 0.2, 10], [0.5, 0, 0], [0.9, 0.8, 40]])
    assert table(figure) == [
        ["how sure it was", "how often right", "cases"], ["10.0 %", "20.0 %", "10"], ["90.0 %", "80.0 %", "40"],
    ]  # fmt: skip
    sizes = [float(circle.attrib["r"]) for circle in parsed(figure).iter("circle")]
    assert sizes == [6.0, 9.0]


def test_confusion_says_counts_and_shares_and_paints_by_class() -> None:
    figure = charts.confusion(["a", "b"], [[8, 2], [0, 0]], {"a": "Apple"})
    assert table(figure)[1:] == [["Apple", "8 80.0 %", "2 20.0 %"], ["b", "0", "0"]]
    cells = [cell.get("class") for cell in parsed(figure).iter("td")]
    assert cells == ["right heat-8", "wrong heat-2", "wrong heat-0", "right heat-0"]


def test_a_large_confusion_matrix_is_folded_under_its_commonest_mistakes() -> None:
    names = [f"c{n}" for n in range(20)]
    counts = [[9 if i == j else 0 for j in range(20)] for i in range(20)]
    counts[3][4] = 5
    figure = charts.confusion(names, counts)
    assert table(figure)[:2] == [["actually → said", "cases", "of its class"], ["c3 → c4", "5", "35.7 %"]]
    assert re.search("<summary>All 20 classes</summary>", figure)
    counts[3][4] = 0
    assert "Nothing was taken for anything else." in charts.confusion(names, counts)


def test_residuals_say_unit_and_how_far_off() -> None:
    figure = charts.residuals([[1.0, 1.5], [3.0, 2.5]], "kg")
    assert "estimated (kg)" in figure
    assert table(figure)[1:] == [["1", "1.5", "-0.5"], ["3", "2.5", "0.5"]]
    assert table(charts.residual_histogram([[-1, 0, 3], [0, 1, 1500]]))[1:] == [["-1 to 0", "3"], ["0 to 1", "1,500"]]
