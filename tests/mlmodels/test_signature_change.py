"""What a new signature breaks for those who use the present one."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from mlmodels import signature
from mlmodels.signature_change import breaks
from tests import registry


def number(title: str = "Width") -> dict[str, Any]:
    return {"type": "number", "title": title}


def field(table: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = table["input"]["properties"][name]
    return found


def add(table: dict[str, Any], name: str) -> None:
    table["input"]["properties"][name] = number()
    table["input"]["x-order"].append(name)


def remove(table: dict[str, Any], name: str) -> None:
    del table["input"]["properties"][name]
    table["input"]["x-order"].remove(name)
    table["input"]["required"].remove(name)


def answer(table: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = table["output"]["properties"]["label"]
    return found


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], list[str]]] = [
    (lambda new: remove(new, "coat"), ["The field coat is gone."]),
    (lambda new: add(new, "width"), ["The field width is new."]),
    (lambda new: new["input"]["x-order"].reverse(), ["The fields are in another order."]),
    (
        lambda new: field(new, "tame").update({"type": "integer"}),
        ["The field tame wants a whole number; it wanted yes or no."],
    ),
    (lambda new: field(new, "length").update({"x-unit": "m"}), ["The field length is in m; it was in cm."]),
    (
        lambda new: field(new, "length").update({"minimum": 11}),
        ["The field length accepts a number from 11 to 200 cm; it accepted a number from 10 to 200 cm."],
    ),
    (
        lambda new: field(new, "length").update({"maximum": 100}),
        ["The field length accepts a number from 10 to 100 cm; it accepted a number from 10 to 200 cm."],
    ),
    (lambda new: field(new, "coat").update({"enum": ["smooth", "bald"]}), ["The field coat no longer accepts rough."]),
    (lambda new: answer(new)["enum"].append("eel"), ["The classes are others: eel only in one of the two versions."]),
    (lambda new: answer(new)["enum"].reverse(), ["The classes are in another order."]),
    (lambda new: new.update(output=registry.WEIGHT), ["The answer is of another kind."]),
    (
        lambda new: new["tensors"]["inputs"][0].update({"datatype": "FP64"}),
        ["The names, types or shapes of the tensors are others."],
    ),
]
KEPT: list[Callable[[dict[str, Any]], Any]] = [
    lambda new: None,
    lambda new: field(new, "length").update({"minimum": 0, "maximum": 500, "title": "Size", "x-typical": [20, 30]}),
    lambda new: field(new, "length").pop("minimum"),
    lambda new: field(new, "coat")["enum"].append("bald"),
    lambda new: new["input"]["required"].remove("coat"),
    lambda new: new["input"].update({"examples": []}),
    lambda new: answer(new).update({"x-labels": {"cat": "Tom"}}),
]


def table() -> dict[str, Any]:
    return copy.deepcopy(registry.table_signature())


@pytest.mark.parametrize(("change", "sentences"), BROKEN)
def test_a_change_that_breaks_something_is_named(change: Callable[[dict[str, Any]], Any], sentences: list[str]) -> None:
    new = table()
    change(new)
    assert breaks(new, table()) == sentences


@pytest.mark.parametrize("change", KEPT)
def test_a_change_that_only_widens_breaks_nothing(change: Callable[[dict[str, Any]], Any]) -> None:
    new = table()
    change(new)
    assert breaks(new, table()) == []
    assert signature.examples(table())[0].input.keys() == new["input"]["properties"].keys()


def test_what_could_be_left_out_must_stay_so() -> None:
    old = table()
    old["input"]["required"].remove("coat")
    assert breaks(table(), old) == ["The field coat may no longer be left out."]
    new = table()
    field(new, "coat")["default"] = "rough"
    assert breaks(new, old) == []


def test_the_unit_of_a_number_that_is_answered_counts_and_its_range_does_not() -> None:
    old, new = copy.deepcopy(registry.number_signature()), copy.deepcopy(registry.number_signature())
    new["output"]["properties"]["value"] |= {"minimum": 5, "maximum": 9}
    assert breaks(new, old) == []
    new["output"]["properties"]["value"]["x-unit"] = "g"
    assert breaks(new, old) == ["The answer is in g; it was in kg."]


def test_every_broken_thing_is_named() -> None:
    new = table()
    remove(new, "coat")
    field(new, "length")["x-unit"] = "m"
    assert breaks(new, table()) == ["The field coat is gone.", "The field length is in m; it was in cm."]
