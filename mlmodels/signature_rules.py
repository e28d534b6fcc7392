"""What a signature itself must look like before anything may rely on it.

Kept apart from `signature` (which reads values by a signature) so that each stays short.
Pure Python. Every refusal is one sentence that the author of a model can act on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

MAX_FIELDS = 2000
MAX_CHOICES = 10_000
FLOAT32_LIMIT = 3.4e38
INTEGER_LIMIT = 2**53
DATATYPES = {f"{kind}INT{bits}" for kind in ("", "U") for bits in (8, 16, 32, 64)}
DATATYPES |= {"BOOL", "BYTES", "FP16", "FP32", "FP64"}
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
KINDS = ("number", "integer", "choice", "boolean", "image")


class InvalidSignature(ValueError):
    """A signature that cannot be used; the text is one sentence."""


def kind_of(spec: Mapping[str, Any]) -> str:
    """One of KINDS for a property, or an empty string for a property of no known kind."""
    declared = spec.get("type")
    if declared in ("number", "integer", "boolean"):
        return str(declared)
    if declared == "string":
        if "enum" in spec:
            return "choice"
        if spec.get("format") == "image":
            return "image"
    return ""


def check_structure(signature: object) -> None:
    """Raise InvalidSignature unless input, output and tensors are well-formed.

    Whether defaults and examples fit their own fields is not looked at here.
    """
    whole = _mapping(signature, "The signature")
    for part in ("input", "output"):
        _mapping(whole.get(part), f"The signature's {part}")
    _check_input(whole["input"])
    _check_output(whole["output"])
    _check_tensors(_mapping(whole.get("tensors"), "The signature's tensors"))


def _check_input(schema: Mapping[str, Any]) -> None:
    _require(schema.get("type") == "object", 'The input must have type "object".')
    _require(
        schema.get("additionalProperties") is False,
        'The input must say "additionalProperties": false.',
    )
    properties = _mapping(schema.get("properties"), "The input's properties")
    _require(0 < len(properties) <= MAX_FIELDS, f"The input needs 1 to {MAX_FIELDS} properties.")
    order = _names(schema.get("x-order"), "x-order")
    _require(
        len(order) == len(properties) and set(order) == set(properties),
        "x-order must name every property of the input exactly once.",
    )
    required = _names(schema.get("required"), "required")
    _require(len(set(required)) == len(required), "required names a property twice.")
    unknown = sorted(set(required) - set(properties))
    _require(not unknown, f"required names {unknown[:1]}, which is no property of the input.")
    for name, spec in properties.items():
        _check_property(name, spec)


def _check_property(name: object, spec: object) -> None:
    _require(
        isinstance(name, str) and FIELD_NAME.fullmatch(name) is not None,
        f"{str(name)[:70]!r} is no name for a field: a small letter, then at most 63 small "
        "letters, digits and underscores.",
    )
    where = f"Field {name}"
    checked = _mapping(spec, where)
    _text(checked.get("title"), f"{where}: title")
    for key in ("description", "x-unit"):
        if key in checked:
            _text(checked[key], f"{where}: {key}", empty=True)
    kind = kind_of(checked)
    _require(kind != "", f"{where} is no number, integer, choice, boolean or picture.")
    if kind in ("number", "integer"):
        _check_range(where, checked, whole=kind == "integer")
    elif kind == "choice":
        _check_choices(where, checked)
    elif kind == "image":
        _require("default" not in checked, f"{where}: a picture cannot have a default.")
        _require(
            str(checked.get("contentMediaType", "image/png")).startswith("image/"),
            f"{where}: contentMediaType must be a kind of image.",
        )
    _require(isinstance(checked.get("examples", []), list), f"{where}: examples must be a list.")


def _check_range(where: str, spec: Mapping[str, Any], *, whole: bool = False) -> None:
    for key in ("minimum", "maximum"):
        if key in spec:
            _require(is_finite_number(spec[key]), f"{where}: {key} must be a finite number.")
            if whole:
                _require(
                    float(spec[key]).is_integer() and abs(spec[key]) <= INTEGER_LIMIT,
                    f"{where}: {key} must be a whole number.",
                )
    if "minimum" in spec and "maximum" in spec:
        _require(spec["minimum"] < spec["maximum"], f"{where}: minimum must be below maximum.")
    if "x-typical" in spec:
        pair = spec["x-typical"]
        _require(
            isinstance(pair, list)
            and len(pair) == 2
            and all(is_finite_number(end) for end in pair)
            and pair[0] <= pair[1],
            f"{where}: x-typical must be two numbers, the smaller first.",
        )


def _check_choices(where: str, spec: Mapping[str, Any]) -> None:
    values = spec["enum"]
    _require(
        isinstance(values, list) and 0 < len(values) <= MAX_CHOICES,
        f"{where}: enum must be a list of 1 to {MAX_CHOICES} values.",
    )
    for value in values:
        _text(value, f"{where}: every value of enum")
    _require(len(set(values)) == len(values), f"{where}: enum holds a value twice.")
    labels = _mapping(spec.get("x-labels", {}), f"{where}: x-labels")
    for value, label in labels.items():
        _require(value in values, f"{where}: x-labels names {str(value)[:60]!r}, not in enum.")
        _text(label, f"{where}: every label of x-labels")


def _check_output(schema: Mapping[str, Any]) -> None:
    properties = _mapping(schema.get("properties"), "The output's properties")
    has = [name for name in ("label", "value") if name in properties]
    _require(len(has) == 1, "The output must have either a label or a value.")
    spec = _mapping(properties[has[0]], f"The output's {has[0]}")
    _text(spec.get("title"), f"The output's {has[0]}: title")
    if has == ["label"]:
        _require("enum" in spec, "The output's label must list its classes in enum.")
        _check_choices("The output's label", spec)
        _require(len(spec["enum"]) >= 2, "The output's label needs at least two classes.")
    else:
        _check_range("The output's value", spec)


def _check_tensors(tensors: Mapping[str, Any]) -> None:
    for side in ("inputs", "outputs"):
        entries = tensors.get(side)
        _require(
            isinstance(entries, list) and 0 < len(entries) <= MAX_FIELDS,
            f"tensors.{side} must be a list with at least one tensor.",
        )
        names = [_check_tensor(side, entry) for entry in entries or []]
        _require(len(set(names)) == len(names), f"tensors.{side} holds a name twice.")


def _check_tensor(side: str, entry: object) -> str:
    tensor = _mapping(entry, f"Each of tensors.{side}")
    name = _text(tensor.get("name"), f"Each name in tensors.{side}")
    _require(
        tensor.get("datatype") in DATATYPES,
        f"tensors.{side} {name[:60]}: datatype must be one of {', '.join(sorted(DATATYPES))}.",
    )
    shape = tensor.get("shape")
    _require(
        isinstance(shape, list)
        and 0 < len(shape) <= 8
        and all(type(size) is int and (size == -1 or size > 0) for size in shape),
        f"tensors.{side} {name[:60]}: shape must be a list of sizes above 0, or -1 for free.",
    )
    return name


def is_finite_number(value: object) -> bool:
    """True for an int or float (not bool) that a 32-bit float can hold."""
    if type(value) is not int and type(value) is not float:
        return False
    # An int of 400 digits compares with a float, but would not convert to one.
    return -FLOAT32_LIMIT <= value <= FLOAT32_LIMIT and not math.isnan(value)


def _names(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidSignature(f"{what} must be a list of property names.")
    return value


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidSignature(f"{what} must be an object.")
    return value


def _text(value: object, what: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or "\0" in value or not (empty or value.strip()):
        raise InvalidSignature(f"{what} must be a text.")
    return value


def _require(condition: object, sentence: str) -> None:
    if not condition:
        raise InvalidSignature(sentence)
