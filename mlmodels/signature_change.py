"""What a new signature breaks for those who use the present one. Pure Python, part of `signature`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlmodels.signature_rules import kind_of
from mlmodels.signature_wording import expected, printable


def breaks(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """One sentence per thing that fits `old` and not `new`, or would mean something else there; none: compatible.

    Input fields must be the same, of the same kind and unit and in the same order, and accept at least what they did;
    the answer must be of the same kind with the same classes; the tensors must be the same. Titles, descriptions,
    defaults and examples do not count.
    """
    given, before = new["input"], old["input"]
    sentences = _names(given, before)
    for name in before["x-order"]:
        if name in given["properties"]:
            was_required = name in before["required"] and "default" not in before["properties"][name]
            is_required = name in given["required"] and "default" not in given["properties"][name]
            if is_required and not was_required:
                sentences.append(f"The field {name} may no longer be left out.")
            sentences += _field(name, given["properties"][name], before["properties"][name])
    sentences += _output(new["output"]["properties"], old["output"]["properties"])
    if not sentences and new["tensors"] != old["tensors"]:
        sentences.append("The names, types or shapes of the tensors are others.")
    return sentences


def _names(given: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    order, old_order = given["x-order"], before["x-order"]
    gone = [f"The field {name} is gone." for name in old_order if name not in given["properties"]]
    added = [f"The field {name} is new." for name in order if name not in before["properties"]]
    if not gone and not added and order != old_order:
        return ["The fields are in another order."]
    return gone + added


def _field(name: str, spec: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    if kind_of(spec) != kind_of(old):
        return [f"The field {name} wants {expected(spec)}; it wanted {expected(old)}."]
    if spec.get("x-unit", "") != old.get("x-unit", ""):
        return [
            f"The field {name} is in {spec.get('x-unit') or 'no unit'}; it was in {old.get('x-unit') or 'no unit'}."
        ]
    low, high = spec.get("minimum", -math.inf), spec.get("maximum", math.inf)
    if low > old.get("minimum", -math.inf) or high < old.get("maximum", math.inf):
        return [f"The field {name} accepts {expected(spec)}; it accepted {expected(old)}."]
    missing = [value for value in old.get("enum", []) if value not in spec.get("enum", [])]
    return [f"The field {name} no longer accepts {', '.join(map(printable, missing[:5]))}."] if missing else []


def _output(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    if set(new) != set(old):
        return ["The answer is of another kind."]
    if "value" in old:
        unit, before = new["value"].get("x-unit", ""), old["value"].get("x-unit", "")
        return [f"The answer is in {unit or 'no unit'}; it was in {before or 'no unit'}."] if unit != before else []
    classes, before = new["label"]["enum"], old["label"]["enum"]
    if set(classes) != set(before):
        changed = [printable(name) for name in (*classes, *before) if (name in classes) != (name in before)]
        return [f"The classes are others: {', '.join(changed[:5])} only in one of the two versions."]
    return ["The classes are in another order."] if classes != before else []
