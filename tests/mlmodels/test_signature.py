"""What a signature lets through, and what it says about the rest."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmodels import signature as signatures
from mlmodels.signature import InvalidInput
from tests.mlmodels.example_signature import FORM, GOOD, SIGNATURE, json_values


def errors_of(value: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        signatures.validate(SIGNATURE, value)
    return {error.field: error.message for error in caught.value.errors}


def form_errors(strings: dict[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        signatures.parse_form(SIGNATURE, strings)
    return {error.field: error.message for error in caught.value.errors}


def test_a_good_input_comes_back_typed_in_the_order_of_the_signature() -> None:
    given_backwards = dict(reversed(GOOD.items()))
    found = signatures.validate(SIGNATURE, given_backwards | {"radius": 12})
    assert list(found.items()) == list((GOOD | {"radius": 12.0}).items())
    assert type(found["radius"]) is float


def test_a_default_fills_in_and_an_optional_field_stays_out() -> None:
    sent = {name: value for name, value in GOOD.items() if name not in ("count", "free")}
    assert signatures.validate(SIGNATURE, sent) == sent | {"count": 3}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("radius", True, "Radius: found true, expected a number from 0 to 50 µm."),
        ("radius", "12", "Radius: found “12”, expected a number from 0 to 50 µm."),
        ("radius", math.nan, "Radius: found nan, expected a number from 0 to 50 µm."),
        ("radius", math.inf, "Radius: found inf, expected a number from 0 to 50 µm."),
        ("radius", 50.0001, "Radius: found 50.0001, expected a number from 0 to 50 µm."),
        ("radius", -1, "Radius: found -1, expected a number from 0 to 50 µm."),
        ("radius", None, "Radius: found null, expected a number from 0 to 50 µm."),
        ("radius", [1], "Radius: found a list, expected a number from 0 to 50 µm."),
        ("radius", 10**400, "Radius: found a number that is too large, expected a number from 0 to 50 µm."),
        ("free", 10**400, "Free: found a number that is too large, expected a number."),
        ("free", 3.5e38, "Free: found 3.5e+38, expected a number."),
        ("count", 2.5, "Count: found 2.5, expected a whole number from 1 to 9."),
        ("grade", "c", "Grade: found “c”, expected one of a, b."),
        ("grade", ["a"], "Grade: found a list, expected one of a, b."),
        ("smoker", 1, "Smoker: found 1, expected yes or no."),
        ("scan", "", "Scan: found an empty text, expected a picture."),
        ("scan", {"a": 1}, "Scan: found an object, expected a picture."),
    ],
)
def test_a_bad_json_value_is_named_with_what_was_expected(field: str, value: object, message: str) -> None:
    assert errors_of(GOOD | {field: value}) == {field: message}


def test_every_bad_field_is_named_at_once() -> None:
    assert set(errors_of({"radius": -1, "count": 99, "zz": 1})) == {"radius", "count", "grade", "smoker", "scan", "zz"}


def test_an_unknown_field_is_named_even_where_a_default_makes_up_the_number() -> None:
    sent = {name: value for name, value in GOOD.items() if name not in ("count", "free")}
    assert errors_of(sent | {"zz": 1}) == {"zz": "There is no field “zz”."}


def test_a_thousand_unknown_fields_give_a_short_answer() -> None:
    errors = errors_of(GOOD | {f"zz{number}": 1 for number in range(1000)})
    assert len(errors) == 21
    assert errors[""] == "980 more fields are unknown."


@pytest.mark.parametrize("value", [None, [], "text", 3, [GOOD]])
def test_an_input_that_is_no_object_is_refused(value: object) -> None:
    assert errors_of(value) == {"": "The input must be an object."}


def test_a_form_becomes_typed_values_without_its_pictures() -> None:
    assert signatures.parse_form(SIGNATURE, FORM | {"scan": "ignored"}) == {
        "radius": 12.5,
        "count": 3,
        "grade": "a",
        "smoker": True,
        "free": -1500.0,
    }


def test_a_box_that_is_not_ticked_is_no() -> None:
    sent = {name: text for name, text in FORM.items() if name != "smoker"}
    assert signatures.parse_form(SIGNATURE, sent)["smoker"] is False


def test_empty_texts_are_missing_values() -> None:
    assert form_errors(dict.fromkeys(FORM, "")) == {
        "radius": "Radius: found nothing, expected a number from 0 to 50 µm.",
        "grade": "Grade: found nothing, expected one of a, b.",
        "smoker": "Smoker: found nothing, expected yes or no.",
    }


@pytest.mark.parametrize("text", ["0", "50", " 7 ", "+7", "7.", ".5", "5e1", "5E-3", "07"])
def test_plain_decimal_numbers_are_read(text: str) -> None:
    assert signatures.parse_form(SIGNATURE, FORM | {"radius": text})["radius"] == float(text)


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "1_000",
        "\uff11\uff12",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e400",
        "0x1f",
        "1,5",
        "1 2",
        "--1",
        "1e",
        ".",
        "7\0",
        "٣",
        "1e99999999",
        "9" * 101,
        "-0.1",
        "50.1",
        "½",
        "7\u200b",
    ],
)
def test_no_other_text_passes_for_a_number(text: str) -> None:
    message = form_errors(FORM | {"radius": text})["radius"]
    assert message.endswith("expected a number from 0 to 50 µm.")


def test_what_was_found_is_shown_short_and_printable() -> None:
    found = form_errors(FORM | {"radius": "\0\x1b[31m" + "x" * 5000})["radius"]
    assert found == "Radius: found “" + "��[31m" + "x" * 53 + "…”, expected a number from 0 to 50 µm."
    assert found.isprintable()


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("3.0", 3), ("0.9e1", 9)])
def test_a_whole_number_may_be_written_with_a_point(text: str, number: int) -> None:
    found = signatures.parse_form(SIGNATURE, FORM | {"count": text})["count"]
    assert (found, type(found)) == (number, int)


def test_fields_and_examples_are_what_a_form_needs() -> None:
    radius, count, grade, smoker, scan, free = signatures.fields(SIGNATURE)
    assert (radius.kind, radius.unit, radius.minimum, radius.maximum, radius.example) == ("number", "µm", 0, 50, 12)
    assert (count.kind, count.default, count.required) == ("integer", 3, True)
    assert grade.choices == [("a", "Grade A"), ("b", "b")]
    assert (smoker.kind, scan.kind, scan.draw, free.required) == ("boolean", "image", True, False)
    assert [example.title for example in signatures.examples(SIGNATURE)] == ["One"]


@given(st.dictionaries(st.sampled_from([*GOOD, "zz", ""]), json_values) | json_values)
def test_whatever_comes_is_either_typed_or_refused(value: object) -> None:
    try:
        typed = signatures.validate(SIGNATURE, value)
    except InvalidInput as bad:
        errors = bad.errors
    else:
        json.dumps(typed, allow_nan=False)
        assert signatures.validate(SIGNATURE, typed) == typed
        return
    assert errors
    assert all(error.message.isprintable() for error in errors)


@given(st.floats(0, 50))
def test_a_number_survives_being_written_into_a_form(number: float) -> None:
    assert signatures.parse_form(SIGNATURE, FORM | {"radius": repr(number)})["radius"] == number


@given(st.text(max_size=150))
def test_any_text_in_a_number_field_is_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        found = signatures.parse_form(SIGNATURE, FORM | {"free": text}).get("free")
    except InvalidInput:
        return
    assert found == float(text) if text.strip(" \t\r\n") else found is None
