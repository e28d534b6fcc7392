"""Values read by a signature: one JSON Schema per version for its input and output.

It alone drives the web form, the programs' APIs and the check of what a model answered.
Pure Python, no Django: imported by web, worker and executor. `validate` is on the hot
path of every request, hence its plain loop and its fast branch for numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from mlmodels.signature_outputs import agrees, check_output, same
from mlmodels.signature_rules import (
    FLOAT32_LIMIT,
    INTEGER_LIMIT,
    InvalidSignature,
    check_structure,
    is_finite_number,
    kind_of,
)
from mlmodels.signature_wording import expected, printable, shown

__all__ = (
    "Example", "Field", "FieldError", "InvalidInput", "InvalidSignature", "agrees", "check",
    "check_output", "examples", "fields", "parse_form", "same", "validate",
)  # fmt: skip

Signature = Mapping[str, Any]

MAX_NUMBER_TEXT = 100
MAX_UNKNOWN_NAMED = 20

NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
YES = frozenset(("on", "true", "yes", "1"))
NO = frozenset(("off", "false", "no", "0"))
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field; `message` is the whole sentence for a person."""

    field: str
    message: str
    found: str
    expected: str


class InvalidInput(ValueError):
    """An input that does not fit the signature; `errors` names every bad field."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(" ".join(error.message for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the input as a form shows it."""

    name: str
    title: str
    kind: str
    required: bool
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    typical: tuple[float, float] | None = None
    default: object = None
    example: object = None
    choices: list[tuple[str, str]] = dataclass_field(default_factory=list)
    description: str = ""
    draw: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A whole input that a visitor can load; pictures are data URIs."""

    title: str
    input: dict[str, Any]


def fields(signature: Signature) -> list[Field]:
    """The input's fields in the order in which people and tensors see them."""
    schema = signature["input"]
    required = set(schema["required"])
    return [_field(name, schema["properties"][name], required=name in required) for name in schema["x-order"]]


def _field(name: str, spec: Mapping[str, Any], *, required: bool) -> Field:
    labels = spec.get("x-labels", {})
    typical = spec.get("x-typical")
    own_examples = spec.get("examples") or [None]
    return Field(
        name=name,
        title=spec["title"],
        kind=kind_of(spec),
        required=required,
        unit=spec.get("x-unit", ""),
        minimum=spec.get("minimum"),
        maximum=spec.get("maximum"),
        typical=(typical[0], typical[1]) if typical else None,
        default=spec.get("default"),
        example=own_examples[0],
        choices=[(value, labels.get(value, value)) for value in spec.get("enum", [])],
        description=spec.get("description", ""),
        draw=bool(spec.get("x-draw", False)),
    )


def examples(signature: Signature) -> list[Example]:
    """The whole examples that the signature carries (none is fine)."""
    return [Example(entry["title"], dict(entry["input"])) for entry in signature["input"].get("examples", [])]


def validate(signature: Signature, value: object) -> dict[str, Any]:
    """The typed input for one JSON object, in the signature's order, defaults filled in.

    Strict: an unknown or missing field, a wrong type (true is no number), NaN, infinity
    and anything out of range raise InvalidInput, which names every bad field. A picture
    is any text that is not empty; what it holds is looked at where it is decoded.
    """
    if not isinstance(value, Mapping):
        misfit = FieldError("", "The input must be an object.", shown(value), "an object")
        raise InvalidInput([misfit])
    schema = signature["input"]
    return _read(schema, value, schema["x-order"], _json_value)


def parse_form(signature: Signature, strings: Mapping[str, str]) -> dict[str, Any]:
    """Typed values for the text fields of a web form, in the signature's order.

    Pictures are left out (they arrive as files). An empty text is a missing value; a
    yes/no field that is not sent at all is "no", as browsers send nothing for an
    unticked box. Raises InvalidInput naming every bad field.
    """
    schema = signature["input"]
    typed_in = [name for name in schema["x-order"] if kind_of(schema["properties"][name]) != "image"]
    return _read(schema, strings, typed_in, _form_value)


class _Misfit(Exception):
    """A value that does not fit its field; the argument is what was found, as shown."""


def _read(
    schema: Mapping[str, Any],
    given: Mapping[Any, Any],
    names: list[str],
    typed: Callable[[Mapping[str, Any], Any], Any],
) -> dict[str, Any]:
    properties = schema["properties"]
    result: dict[str, Any] = {}
    errors: list[FieldError] = []
    known = 0
    for name in names:
        spec = properties[name]
        raw = given.get(name, _ABSENT)
        known += raw is not _ABSENT
        # The fast branch: NaN and infinity fail the comparison and go the long way.
        if (
            type(raw) is float
            and spec["type"] == "number"
            and spec.get("minimum", -FLOAT32_LIMIT) <= raw <= spec.get("maximum", FLOAT32_LIMIT)
        ):
            result[name] = raw
            continue
        try:
            value = typed(spec, raw)
        except _Misfit as misfit:
            errors.append(_error(name, spec, str(misfit)))
            continue
        if value is not _ABSENT:
            result[name] = value
        elif "default" in spec:
            result[name] = spec["default"]
        elif name in schema["required"]:
            errors.append(_error(name, spec, "nothing"))
    if known < len(given):
        errors.extend(_unknown(given, properties))
    if errors:
        raise InvalidInput(errors)
    return result


def _unknown(given: Mapping[Any, Any], properties: Mapping[str, Any]) -> list[FieldError]:
    extra = [name for name in given if not isinstance(name, str) or name not in properties]
    errors = []
    for name in extra[:MAX_UNKNOWN_NAMED]:
        text = printable(str(name))
        errors.append(FieldError(text, f"There is no field “{text}”.", text, "known fields"))
    if len(extra) > MAX_UNKNOWN_NAMED:
        count = str(len(extra) - MAX_UNKNOWN_NAMED)
        errors.append(FieldError("", f"{count} more fields are unknown.", count, "known fields"))
    return errors


def _json_value(spec: Mapping[str, Any], raw: Any) -> Any:
    """The typed value of a JSON value, _ABSENT where none was given; or raises _Misfit."""
    if raw is _ABSENT:
        return _ABSENT
    kind = kind_of(spec)
    if kind in ("number", "integer"):
        if is_finite_number(raw):
            return _within_range(spec, raw, shown(raw))
    elif kind == "boolean":
        if isinstance(raw, bool):
            return raw
    elif kind == "choice":
        if isinstance(raw, str) and raw in spec["enum"]:
            return raw
    elif isinstance(raw, str) and raw and "\0" not in raw:
        return raw
    raise _Misfit(shown(raw))


def _form_value(spec: Mapping[str, Any], raw: Any) -> Any:
    """The typed value of a form's text, _ABSENT where it is empty; or raises _Misfit."""
    kind = kind_of(spec)
    if raw is _ABSENT:
        return False if kind == "boolean" else _ABSENT
    if not isinstance(raw, str):
        raise _Misfit(shown(raw))
    text = raw.strip(" \t\r\n")
    if kind == "choice" and (raw in spec["enum"] or text in spec["enum"]):
        return raw if raw in spec["enum"] else text
    if not text:
        return _ABSENT
    if kind == "boolean" and text.lower() in YES | NO:
        return text.lower() in YES
    if (
        kind in ("number", "integer")
        and len(text) <= MAX_NUMBER_TEXT
        and NUMBER_TEXT.fullmatch(text)
        and math.isfinite(float(text))
    ):
        return _within_range(spec, _exact(text), shown(text))
    raise _Misfit(shown(raw))


def _exact(text: str) -> int | float:
    """A whole number stays exact, so that a large one is not rounded before its check."""
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _within_range(spec: Mapping[str, Any], number: float, found: str) -> int | float:
    whole = spec["type"] == "integer"
    limit = INTEGER_LIMIT if whole else FLOAT32_LIMIT
    low, high = spec.get("minimum", -limit), spec.get("maximum", limit)
    if low <= number <= high and -limit <= number <= limit:
        if not whole:
            return float(number)
        if number == int(number):
            return int(number)
    raise _Misfit(found)


def _error(name: str, spec: Mapping[str, Any], found: str) -> FieldError:
    wanted = expected(spec)
    return FieldError(name, f"{spec['title']}: found {found}, expected {wanted}.", found, wanted)


def check(signature: object) -> None:
    """Raise InvalidSignature, with one sentence, unless the signature can be relied on.

    Besides its structure: every default and every example must fit its own field, and
    every whole example must pass `validate`.
    """
    check_structure(signature)
    schema: Mapping[str, Any] = signature["input"]  # type: ignore[index]
    for name, spec in schema["properties"].items():
        carried = spec.get("examples", []) + ([spec["default"]] if "default" in spec else [])
        for value in carried:
            try:
                _json_value(spec, value)
            except _Misfit as misfit:
                raise InvalidSignature(
                    f"Field {name}: {misfit} is among its examples or its default, but it expects {expected(spec)}."
                ) from None
    entries = schema.get("examples", [])
    if not isinstance(entries, list):
        raise InvalidSignature("The input's examples must be a list.")
    for entry in entries:
        _check_example(schema, entry)


def _check_example(schema: Mapping[str, Any], entry: object) -> None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("title"), str):
        raise InvalidSignature("Every example of the input needs a title and an input.")
    title = printable(entry["title"])
    try:
        validate({"input": schema}, entry.get("input"))
    except InvalidInput as bad:
        raise InvalidSignature(f"The example “{title}” is not valid: {bad.errors[0].message}") from None
