"""How items become what a program is called with, and its answers outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mlmodels import signature as signatures
from mlmodels.architectures import BadItem
from mlmodels.executor.inference import BadOutput
from mlmodels.executor.program import Program
from tests import zoo

FIELDS: dict[str, dict[str, Any]] = {
    "age": {"type": "number", "title": "Age"},
    "visits": {"type": "integer", "title": "Visits"},
    "smoker": {"type": "boolean", "title": "Smoker"},
    "grade": {"type": "string", "title": "Grade", "enum": ["a", "b", "c"]},
}
PICTURE = {"image": {"type": "string", "format": "image", "title": "Picture"}}
ITEMS: list[dict[str, Any]] = [
    {"age": 30.5, "visits": 2, "smoker": True, "grade": "b"},
    {"age": 61.0, "visits": 0, "smoker": False},
]


def signature(fields: dict[str, Any], classes: list[str] | None = None, **tensors: list[Any]) -> dict[str, Any]:
    label = {"label": {"type": "string", "title": "Answer", "enum": classes}}
    return {
        "input": {
            "type": "object",
            "additionalProperties": False,
            "required": [],
            "x-order": list(fields),
            "properties": fields,
        },
        "output": {"properties": label if classes else {"value": {"type": "number", "title": "Answer"}}},
        "tensors": {
            "inputs": [{"name": name, "datatype": kind, "shape": shape} for name, (kind, shape) in tensors.items()]
            or [{"name": "input", "datatype": "FP32", "shape": [-1, 1]}],
            "outputs": [{"name": "answer", "datatype": "FP32", "shape": [-1, 1]}],
        },
    }


class Answers(nn.Module):
    """Answers what it was told to, whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *inputs: Tensor) -> Any:
        return self.answer


def encoded(
    fields: dict[str, Any], items: list[dict[str, Any]], params: dict[str, Any], **tensors: Any
) -> list[Tensor]:
    declared = signature(fields, **tensors)
    signatures.check(declared)
    return Program(nn.Identity(), declared, params).encode(items)


def answered(answer: object, params: dict[str, Any], classes: list[str] | None = None) -> list[dict[str, Any]]:
    """What becomes of the answer to two items."""
    return Program(Answers(answer), signature({"x": FIELDS["age"]}, classes), params).predict([{"x": 1.0}, {"x": 2.0}])


def test_a_matrix_holds_every_field_and_a_choice_as_one_hot() -> None:
    (matrix,) = encoded(FIELDS, ITEMS, {})
    assert (matrix.dtype, matrix.shape) == (torch.float32, (2, 6))
    assert matrix.tolist() == [[30.5, 2, 1, 0, 1, 0], [61, 0, 0, 0, 0, 0]]


def test_a_number_that_was_left_out_is_nan_or_what_the_manifest_says() -> None:
    ((row,),) = (matrix.tolist() for matrix in encoded(FIELDS, [{"grade": "a"}], {}))
    assert [math.isnan(value) for value in row] == [True, True, True, False, False, False]
    (matrix,) = encoded(FIELDS, [{"grade": "a"}], {"missing": -1})
    assert matrix.tolist() == [[-1, -1, -1, 1, 0, 0]]


def test_columns_are_tensors_of_their_own_kind() -> None:
    columns = encoded(FIELDS, ITEMS, {"input": "columns"})
    assert [column.dtype for column in columns] == [torch.float32, torch.int64, torch.bool, torch.int64]
    assert [column.tolist() for column in columns] == [
        [[30.5], [61.0]], [[2], [0]], [[True], [False]], [[1], [-1]],
    ]  # fmt: skip


def test_columns_take_the_datatype_and_the_dimensions_of_their_tensor() -> None:
    tensors = {"age": ("FP64", [-1]), "visits": ("INT32", [-1, 1]), "grade": ("BYTES", [-1])}
    age, visits, _, grade = encoded(FIELDS, ITEMS, {"input": "columns"}, **tensors)
    assert (age.dtype, age.shape) == (torch.float64, (2,))
    assert (visits.dtype, visits.shape) == (torch.int32, (2, 1))
    assert (grade.dtype, grade.tolist()) == (torch.int64, [1, -1])


def test_a_whole_number_that_was_left_out_is_this_items_fault_unless_something_stands_for_it() -> None:
    items = [ITEMS[0], {"age": 1.0, "smoker": True}]
    with pytest.raises(BadItem, match="Visits is missing, and this model has no value that stands for that") as bad:
        encoded(FIELDS, items, {"input": "columns"})
    assert bad.value.index == 1
    columns = encoded(FIELDS, items, {"input": "columns", "missing": 7})
    assert columns[1].tolist() == [[2], [7]]


def test_a_picture_is_scaled_from_its_middle_and_standardised() -> None:
    left, right = Image.new("RGB", (20, 10), (255, 0, 0)), Image.new("L", (4, 8), 51)
    asked = {"size": [4, 4], "channels": 3, "mean": [0.5, 0.0, 0.0], "std": [0.5, 1.0, 2.0]}
    (pictures,) = encoded(PICTURE, [{"image": left}, {"image": right}], {"picture": asked})
    assert (pictures.dtype, pictures.shape) == (torch.float32, (2, 3, 4, 4))
    assert pictures[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert pictures[1, :, 0, 0].tolist() == pytest.approx([(0.2 - 0.5) / 0.5, 0.2, 0.1])


def test_a_picture_of_other_proportions_keeps_its_own() -> None:
    """The middle of the picture is cut out, never squeezed."""
    wide = Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None] * 5, 10, axis=0))
    asked = {"size": [10, 20], "channels": 1, "scale": 1}
    (pictures,) = encoded(PICTURE, [{"image": wide}], {"picture": asked})
    assert pictures.shape == (1, 1, 10, 20)
    assert pictures[0, 0, 3].tolist() == pytest.approx([5.0 * (10 + x) for x in range(20)])


def test_no_picture_is_this_items_fault() -> None:
    with pytest.raises(BadItem, match="There is no picture"):
        encoded(PICTURE, [{}], {"picture": {"size": [4, 4]}})


@pytest.mark.parametrize(
    ("fields", "params", "sentence"),
    [
        (FIELDS, {"inputs": "matrix"}, "params holds 'inputs': known are input, missing, output, picture."),
        (FIELDS, {"input": "rows"}, 'params.input is \'rows\': expected "matrix" or "columns".'),
        (FIELDS, {"missing": "none"}, "params.missing is 'none': expected a number."),
        (FIELDS, {"missing": None}, "params.missing is None: expected a number."),
        (FIELDS, {"picture": {"size": [4, 4]}}, "params.picture needs a signature whose only field is a picture."),
        (PICTURE, {}, "The field image is a picture: params.picture must say how it becomes a tensor."),
        (
            PICTURE,
            {"picture": {}},
            "params.picture must hold size, may hold channels, scale, mean and std, and nothing",
        ),
        (PICTURE, {"picture": 5}, "params.picture must hold size, may hold channels, scale, mean and std, and nothing"),
        (PICTURE, {"picture": {"size": 4}}, "params.picture.size is 4: expected [height, width], each from 1 to 4096."),
        (PICTURE, {"picture": {"size": [4, 0]}}, "params.picture.size is [4, 0]: expected [height, width]"),
        (PICTURE, {"picture": {"size": [4, 4], "channels": 2}}, "params.picture.channels is 2: expected 1 or 3."),
        (PICTURE, {"picture": {"size": [4, 4], "mean": [1]}}, "params.picture.mean is [1]: expected 3 numbers."),
        (
            PICTURE,
            {"picture": {"size": [4, 4], "scale": 0}},
            "params.picture: nothing can be divided by a std or scale",
        ),
        (FIELDS, {"output": "logits"}, "params.output is 'logits': this signature needs \"value\"."),
    ],
)
def test_params_that_do_not_fit_are_refused_with_a_sentence(
    fields: dict[str, Any], params: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=r"\.$") as refused:
        Program(nn.Identity(), signature(fields), params)
    assert str(refused.value).startswith(sentence)


def test_logits_become_probabilities_and_probabilities_stay() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, 5.0]])
    first, second = answered(logits, {}, ["no", "yes"])
    assert first == {"label": "yes", "probabilities": pytest.approx({"no": 0.25, "yes": 0.75})}
    assert second["probabilities"] == {"no": 0.5, "yes": 0.5}
    rows = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    same, _ = answered(rows, {"output": "probabilities"}, ["no", "yes"])
    assert same == {"label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}}


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_number_can_speak_for_two_classes(shape: tuple[int, ...]) -> None:
    logit, chance = torch.full(shape, math.log(3.0)), torch.full(shape, 0.75)
    for answer, output in ((logit, "logits"), (chance, "probabilities")):
        told = answered(answer, {"output": output}, ["no", "yes"])[0]
        assert told == {"label": "yes", "probabilities": pytest.approx({"no": 0.25, "yes": 0.75})}


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_value_is_told_as_it_is(shape: tuple[int, ...]) -> None:
    assert answered(torch.full(shape, 2.5), {}) == [{"value": 2.5}, {"value": 2.5}]
    assert answered((torch.full(shape, 2.5),), {}) == [{"value": 2.5}, {"value": 2.5}]


@pytest.mark.parametrize(
    ("answer", "classes", "sentence"),
    [
        (torch.zeros(2, 3), list(zoo.LABELS), "The program answered with shape (2, 3); (2, 2) was expected."),
        (torch.zeros(3, 2), list(zoo.LABELS), "The program answered with shape (3, 2); (2, 2) was expected."),
        (torch.zeros(2, 1), ["a", "b", "c"], "The program answered with shape (2, 1); (2, 3) was expected."),
        (torch.zeros(()), None, "The program answered with shape (); (2,) or (2, 1) was expected."),
        (torch.zeros(2, 2), None, "The program answered with shape (2, 2); (2,) or (2, 1) was expected."),
        ({"logits": 1}, None, "The program answered with dict, not with one tensor."),
    ],
)
def test_an_answer_of_another_shape_is_no_answer(answer: object, classes: list[str] | None, sentence: str) -> None:
    with pytest.raises(BadOutput) as bad:
        answered(answer, {}, classes)
    assert str(bad.value) == sentence
