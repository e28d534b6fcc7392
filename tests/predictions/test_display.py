"""Numbers, shares and qualities in words, and charts that fit every width."""

from xml.etree import ElementTree

import pytest

from mlmodels.models import ModelVersion
from predictions import about, display
from serving_site import charts, words
from tests import registry


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.5, "50.0 %"), (0.99999, "> 99.9 %"), (0.00001, "< 0.1 %"), (1, "100.0 %"), (0, "0.0 %"), (0.9994, "> 99.9 %")],
)
def test_a_share_never_rounds_to_certainty(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (151.2345, "151.2"),
        (0, "0"),
        (1234.5, "1,234"),
        (0.003119, "0.0031"),
        (-12.5, "-12.5"),
        (1e12, "1e+12"),
        (100, "100"),
    ],
)
def test_a_number_has_about_four_figures(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.4, "less than 1 ms"),
        (61.2, "61 ms"),
        (1500, "1.5 s"),
        (125e3, "2 min 5 s"),
        (7.8e6, "2 h 10 min"),
        (3e8, "3 days"),
    ],
)
def test_a_duration_is_said_as_people_say_it(ms: float, text: str) -> None:
    assert words.duration(ms) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "a moment"), (12, "about 10 seconds"), (60, "about 1 minute"), (6000, "about 2 hours")],
)
def test_an_estimate_is_said_no_more_exactly_than_it_is_known(seconds: float, text: str) -> None:
    assert display.about_duration(seconds) == text


@pytest.mark.parametrize(("ahead", "text"), [(None, "More than 1,000"), (0, "next"), (1, "One"), (12, "12 pred")])
def test_a_place_in_the_queue_is_said_in_words(ahead: int | None, text: str) -> None:
    assert text in display.place(ahead)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.97, (97, 100)), (0.9961, (996, 1000)), (0.9999, (999, 1000)), (1.0, (100, 100))],
)
def test_a_quality_is_never_rounded_to_perfection(share: float, words: tuple[int, int]) -> None:
    assert about.out_of(share) == words


def test_a_manifest_that_says_nothing_invents_nothing() -> None:
    told = about.about(ModelVersion(manifest={"signature": registry.table_signature()}))
    assert (told.headline, told.explanation, told.picture, told.trained_at) == ("", "", None, None)


def test_few_classes_are_sorted_and_many_stay_in_their_order() -> None:
    names = [str(n) for n in range(10)]
    few = {"output": {"properties": {"label": {"title": "T", "enum": names[:3]}}}}
    many = {"output": {"properties": {"label": {"title": "T", "enum": names}}}}
    output = {"label": "2", "probabilities": {"0": 0.2, "1": 0.1, "2": 0.7}}
    full = {"label": "2", "probabilities": dict.fromkeys(names, 0.1)}
    assert [bar.title for bar in display.answer(few, output).bars] == ["2", "0", "1"]
    assert [bar.title for bar in display.answer(many, full).bars] == names


def test_a_hundred_classes_show_the_likeliest_and_fold_the_rest() -> None:
    names = [f"c{n}" for n in range(100)]
    shares = dict.fromkeys(names, 0.001) | {"c77": 0.9}
    answer = display.answer(
        {"output": {"properties": {"label": {"title": "T", "enum": names}}}}, {"label": "c77", "probabilities": shares}
    )
    assert (answer.bars[0].title, answer.bars[0].top) == ("c77", True)
    assert (len(answer.bars), len(answer.more_bars)) == (12, 88)


@pytest.mark.parametrize("value", [-50.0, 0.0, 42.0, 100.0, 1e9])
def test_a_value_is_marked_inside_the_chart_wherever_it_lies(value: float) -> None:
    svg = charts.marked_range(value, 0, 100, texts=("<v>", "0", "100"), typical=(10, 60))
    root = ElementTree.fromstring(svg)
    marks = [float(circle.attrib["cx"].rstrip("%")) for circle in root.iter("circle")]
    assert all(0 <= mark <= 100 for mark in marks)
    assert root.attrib["role"] == "img"
    assert "<v>" in root.attrib["aria-label"]


def test_a_hundred_dots_are_a_hundred() -> None:
    root = ElementTree.fromstring(charts.hundred_dots(97, "97 of 100").replace("<svg ", '<svg xmlns="x" '))
    classes = [circle.attrib["class"] for circle in root]
    assert (classes.count("yes"), classes.count("no")) == (97, 3)
