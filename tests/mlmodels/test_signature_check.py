"""Which signatures may be served, which outputs fit them, and which are the same."""

import copy
import math
from typing import Any

import pytest
from hypothesis import given

from mlmodels import signature as signatures
from mlmodels.signature import InvalidSignature
from tests.mlmodels.example_signature import GOOD, SIGNATURE, json_values


def test_a_whole_signature_is_accepted_with_one_of_every_kind() -> None:
    signatures.check(SIGNATURE)


BROKEN = [
    ("input.type", "array"),
    ("input.additionalProperties", True),
    ("input.x-order", ["radius"]),
    ("input.x-order", ["radius", "radius", "count", "grade", "smoker", "scan"]),
    ("input.required", ["radius", "nobody"]),
    ("input.required", ["radius", "radius"]),
    ("input.required", None),
    ("input.properties", {}),
    ("input.properties.radius.minimum", 50),
    ("input.properties.radius.minimum", math.nan),
    ("input.properties.radius.minimum", True),
    ("input.properties.radius.x-typical", [3, 1]),
    ("input.properties.radius.title", ""),
    ("input.properties.radius.title", 7),
    ("input.properties.radius.type", "array"),
    ("input.properties.radius.examples", ["text"]),
    ("input.properties.radius.examples", 12),
    ("input.properties.count.minimum", 0.5),
    ("input.properties.count.default", 99),
    ("input.properties.grade.enum", []),
    ("input.properties.grade.enum", ["a", "a"]),
    ("input.properties.grade.enum", ["a", 1]),
    ("input.properties.grade.x-labels", {"z": "Z"}),
    ("input.properties.scan.default", "x"),
    ("input.properties.scan.contentMediaType", "text/html"),
    ("input.properties.smoker", "boolean"),
    ("input.examples", {"title": "x"}),
    ("input.examples", [{"title": "x", "input": {"radius": 1}}]),
    ("input.examples", [{"input": GOOD}]),
    ("output", None),
    ("output.properties", {}),
    ("output.properties.label.enum", ["only"]),
    ("output.properties.value", {"title": "both"}),
    ("tensors", []),
    ("tensors.inputs", []),
    ("tensors.inputs", [{"name": "x", "datatype": "FP31", "shape": [-1]}]),
    ("tensors.inputs", [{"name": "x", "datatype": "FP32", "shape": [-2]}]),
    ("tensors.inputs", [{"name": "x", "datatype": "FP32", "shape": [True]}]),
    ("tensors.inputs", [{"name": "x", "datatype": "FP32", "shape": []}]),
    ("tensors.inputs", [{"name": "x", "datatype": "FP32", "shape": [1]}] * 2),
]


@pytest.mark.parametrize(("path", "value"), BROKEN, ids=[f"{path}={value!r}"[:60] for path, value in BROKEN])
def test_a_broken_signature_is_refused_with_one_sentence(path: str, value: object) -> None:
    broken = copy.deepcopy(SIGNATURE)
    *parents, last = path.split(".")
    place = broken
    for name in parents:
        place = place[name]
    place[last] = value
    with pytest.raises(InvalidSignature) as caught:
        signatures.check(broken)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Radius", "1st", "a-b", "a b", "é", "a" * 65, "_a", "a\n"])
def test_a_field_needs_a_plain_name(name: str) -> None:
    broken = copy.deepcopy(SIGNATURE)
    broken["input"]["properties"][name] = {"type": "number", "title": "X"}
    broken["input"]["x-order"].append(name)
    with pytest.raises(InvalidSignature, match="is no name for a field"):
        signatures.check(broken)


@given(json_values)
def test_nothing_that_is_no_signature_passes_or_crashes(value: object) -> None:
    with pytest.raises(InvalidSignature):
        signatures.check(value)


def test_there_is_a_limit_to_the_number_of_fields() -> None:
    wide = copy.deepcopy(SIGNATURE)
    names = [f"x{number}" for number in range(2001)]
    wide["input"] |= {
        "properties": {name: {"type": "number", "title": name} for name in names},
        "x-order": names,
        "required": [],
        "examples": [],
    }
    with pytest.raises(InvalidSignature, match="1 to 2000"):
        signatures.check(wide)


CLASSED = {"label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}}
REGRESSION = {"output": {"properties": {"value": {"type": "number", "title": "Value"}}}}


def test_a_complete_output_passes() -> None:
    signatures.check_output(SIGNATURE, CLASSED)
    signatures.check_output(REGRESSION, {"value": -1.5})


@pytest.mark.parametrize(
    "output",
    [
        None,
        {},
        {"label": "yes"},
        CLASSED | {"label": "maybe"},
        CLASSED | {"label": ["yes"]},
        CLASSED | {"extra": 1},
        CLASSED | {"probabilities": {"yes": 1.0}},
        CLASSED | {"probabilities": {"no": 0.5, "yes": 0.6}},
        CLASSED | {"probabilities": {"no": math.nan, "yes": 0.75}},
        CLASSED | {"probabilities": {"no": -1.0, "yes": 2.0}},
        CLASSED | {"probabilities": {"no": False, "yes": True}},
        CLASSED | {"probabilities": [0.25, 0.75]},
    ],
)
def test_a_wrong_class_output_is_refused(output: object) -> None:
    with pytest.raises(ValueError, match=r"output"):
        signatures.check_output(SIGNATURE, output)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True, [1.0]])
def test_a_value_that_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        signatures.check_output(REGRESSION, {"value": value})


def changed(path: str, value: object) -> dict[str, Any]:
    other = copy.deepcopy(SIGNATURE)
    *parents, last = path.split(".")
    place = other
    for name in parents:
        place = place[name]
    place[last] = value
    return other


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input.properties.radius.title", "Another"),
        ("input.properties.radius.examples", [1]),
        ("input.properties.radius.x-typical", [1, 2]),
        ("input.examples", []),
        ("input.required", ["scan", "smoker", "grade", "count", "radius"]),
        ("output.properties.label.title", "Another"),
    ],
)
def test_words_do_not_make_another_signature(path: str, value: object) -> None:
    assert signatures.same(SIGNATURE, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input.properties.radius.x-unit", "mm"),
        ("input.properties.radius.maximum", 60),
        ("input.properties.title", {"type": "number", "title": "A field called title"}),
        ("input.required", ["radius"]),
        ("output.properties.label.enum", ["yes", "no"]),
        ("tensors.inputs", [{"name": "radius", "datatype": "FP64", "shape": [-1, 1]}]),
    ],
)
def test_what_an_input_or_output_means_does(path: str, value: object) -> None:
    assert not signatures.same(SIGNATURE, changed(path, value))


@pytest.mark.parametrize(
    ("a", "b", "agree"),
    [
        ({"value": 100.0}, {"value": 100.0009}, True),
        ({"value": 100.0}, {"value": 100.002}, False),
        ({"value": 100.0}, {"value": math.nan}, False),
        ({"value": 100.0}, CLASSED, False),
        (CLASSED, CLASSED | {"probabilities": {"no": 0.250001, "yes": 0.749999}}, True),
        (CLASSED, CLASSED | {"probabilities": {"no": 0.2501, "yes": 0.7499}}, False),
        (CLASSED, CLASSED | {"label": "no"}, False),
        (CLASSED, CLASSED | {"probabilities": {"yes": 0.75}}, False),
    ],
)
def test_outputs_agree_when_the_decision_and_every_number_do(a: Any, b: Any, *, agree: bool) -> None:
    assert signatures.agrees(a, b) is agree
