"""A signature with one field of every kind, an input and a form that fit it, and values that may not."""

from typing import Any

from hypothesis import strategies as st


def everything() -> dict[str, Any]:
    """A signature with one field of every kind."""
    properties = {
        "radius": {"type": "number", "title": "Radius", "minimum": 0, "maximum": 50, "x-unit": "µm", "examples": [12]},
        "count": {"type": "integer", "title": "Count", "minimum": 1, "maximum": 9, "default": 3},
        "grade": {"type": "string", "title": "Grade", "enum": ["a", "b"], "x-labels": {"a": "Grade A"}},
        "smoker": {"type": "boolean", "title": "Smoker"},
        "scan": {"type": "string", "format": "image", "contentMediaType": "image/png", "title": "Scan", "x-draw": True},
        "free": {"type": "number", "title": "Free"},
    }
    return {
        "input": {
            "type": "object",
            "additionalProperties": False,
            "required": ["radius", "count", "grade", "smoker", "scan"],
            "x-order": list(properties),
            "properties": properties,
            "examples": [{"title": "One", "input": dict(GOOD)}],
        },
        "output": {"properties": {"label": {"type": "string", "title": "Kind", "enum": ["no", "yes"]}}},
        "tensors": {
            "inputs": [{"name": "radius", "datatype": "FP32", "shape": [-1, 1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
        },
    }


GOOD = {"radius": 12.5, "count": 3, "grade": "a", "smoker": False, "scan": "data:image/png;base64,AA", "free": -1.5}
FORM = {"radius": "12.5", "count": "3", "grade": "a", "smoker": "on", "free": "-1.5e3"}
SIGNATURE = everything()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
