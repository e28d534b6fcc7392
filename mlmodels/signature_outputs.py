"""What a model answered, held against its signature; and whether two of a kind agree.

Pure Python, part of `signature`, which re-exports all three functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlmodels.signature_rules import is_finite_number

PROBABILITY_SUM_TOLERANCE = 1e-3
# Below these, a relative comparison would only compare the noise of 32-bit arithmetic.
PROBABILITY_NOISE = 1e-6
VALUE_NOISE = 1e-9

# Left out by same(): words for people, and figures that every retraining moves.
WORDS = frozenset(("title", "description", "examples", "x-typical", "x-labels", "x-draw"))


def check_output(signature: Mapping[str, Any], output: object) -> None:
    """Raise ValueError unless `output` is a whole and finite answer of this signature.

    A class: a known label and one probability per class, summing to 1 within 0.001.
    A number: one finite value.
    """
    properties = signature["output"]["properties"]
    classes = properties["label"]["enum"] if "label" in properties else None
    names = {"label", "probabilities"} if classes else {"value"}
    if not isinstance(output, Mapping) or set(output) != names:
        raise ValueError(f"The output must hold {' and '.join(sorted(names))}, and only that.")
    if classes is None:
        if not is_finite_number(output["value"]):
            raise ValueError("The value of the output is not a finite number.")
        return
    if not isinstance(output["label"], str) or output["label"] not in classes:
        raise ValueError("The label of the output is not one of the classes.")
    _check_probabilities(classes, output["probabilities"])


def _check_probabilities(classes: list[str], probabilities: object) -> None:
    if not isinstance(probabilities, Mapping) or set(probabilities) != set(classes):
        raise ValueError("The probabilities of the output must name every class once.")
    values = list(probabilities.values())
    if not all(is_finite_number(value) and -1e-6 <= value <= 1 + 1e-6 for value in values):
        raise ValueError("The output has a probability that is not a number from 0 to 1.")
    if abs(math.fsum(values) - 1) > PROBABILITY_SUM_TOLERANCE:
        raise ValueError("The probabilities of the output do not sum to 1.")


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """True when whatever fits one signature fits the other and means the same there.

    Input, output and tensors must be equal; titles, descriptions, examples, labels and
    typical ranges do not count, nor does the range of a predicted number (it is drawn,
    and moves with the training data). Units count, and so does the order of fields.
    """
    return all(_bare(part, a.get(part)) == _bare(part, b.get(part)) for part in _PARTS)


_PARTS = ("input", "output", "tensors")


def _bare(part: str, schema: object) -> object:
    if part == "tensors" or not isinstance(schema, Mapping):
        return schema
    bare = {key: value for key, value in schema.items() if key not in WORDS}
    left_out = WORDS | {"minimum", "maximum"} if part == "output" else WORDS
    # The names of properties are data, never words: a field may be called "title".
    bare["properties"] = {
        name: {key: value for key, value in spec.items() if key not in left_out}
        for name, spec in schema.get("properties", {}).items()
    }
    if isinstance(bare.get("required"), list):
        bare["required"] = sorted(bare["required"])
    return bare


def agrees(a: Mapping[str, Any], b: Mapping[str, Any], rel: float = 1e-5) -> bool:
    """True when two outputs make the same decision and every number is within `rel`.

    A row that runs alone and in a batch differs in its last bits; that still agrees.
    """
    if set(a) != set(b) or a.get("label") != b.get("label"):
        return False
    if "value" in a and not _close(a["value"], b["value"], rel, VALUE_NOISE):
        return False
    mine, theirs = a.get("probabilities", {}), b.get("probabilities", {})
    return set(mine) == set(theirs) and all(_close(mine[name], theirs[name], rel, PROBABILITY_NOISE) for name in mine)


def _close(x: object, y: object, rel: float, noise: float) -> bool:
    if not is_finite_number(x) or not is_finite_number(y):
        return False
    return math.isclose(x, y, rel_tol=rel, abs_tol=noise)  # type: ignore[arg-type]
