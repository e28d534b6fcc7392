"""How a field's wish and a found value are put into words for a person.

Pure Python, part of `signature`; kept apart so that both stay short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlmodels.signature_rules import kind_of

SHOWN_CHARACTERS = 60
SHOWN_CHOICES = 8


def expected(spec: Mapping[str, Any]) -> str:
    """What a field wants, for a person: "a number from 0 to 50 µm"."""
    kind = kind_of(spec)
    if kind == "boolean":
        return "yes or no"
    if kind == "image":
        return "a picture"
    if kind == "choice":
        values = spec["enum"]
        named = ", ".join(printable(value) for value in values[:SHOWN_CHOICES])
        more = len(values) - SHOWN_CHOICES
        return f"one of {named} and {more} more" if more > 0 else f"one of {named}"
    text = "a whole number" if kind == "integer" else "a number"
    if "minimum" in spec and "maximum" in spec:
        text += f" from {spec['minimum']:.15g} to {spec['maximum']:.15g}"
    elif "minimum" in spec:
        text += f" of at least {spec['minimum']:.15g}"
    elif "maximum" in spec:
        text += f" of at most {spec['maximum']:.15g}"
    return f"{text} {spec['x-unit']}" if spec.get("x-unit") else text


def shown(value: object) -> str:
    """What was found, short and printable: texts in quotes, containers by their kind."""
    if isinstance(value, str):
        return f"“{printable(value)}”" if value.strip() else "an empty text"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number that is too large"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list) else "something else"


def printable(text: str) -> str:
    """At most 60 characters, nothing that could act on a terminal, a log or a page."""
    cut = text[: SHOWN_CHARACTERS + 1]
    clean = "".join(mark if mark.isprintable() else "\ufffd" for mark in cut)
    return clean if len(clean) <= SHOWN_CHARACTERS else clean[: SHOWN_CHARACTERS - 1] + "…"
