"""Items in, outputs out: each on its own, whatever else is in the batch."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mlmodels import ink
from mlmodels.architectures import REGISTRY, Architecture, BadItem, ImageCNN, TableBlend, TableMLP
from mlmodels.architectures.trees import LARGEST, Trees

MIXED: list[dict[str, Any]] = [
    {"name": "size", "kind": "number", "missing": True},
    {"name": "rooms", "kind": "integer"},
    {"name": "garden", "kind": "boolean"},
    {"name": "town", "kind": "choice", "values": ["x", "y", "z"]},
]


KINDS = ["classes", "numbers", "blended classes", "blended numbers", "pictures", "photos"]


def mixed_item(number: int) -> dict[str, Any]:
    return {"size": number / 3, "rooms": number % 5, "garden": number % 2 == 0, "town": "xyz"[number % 3]}


def stroke_picture(number: int) -> Image.Image:
    picture = Image.new("L", (90 + number, 120), 255)
    draw = ImageDraw.Draw(picture)
    draw.line([(20 + number, 20), (60, 60 + number), (30, 100)], fill=10 * number, width=3 + number)
    return picture


def numbers(output: dict[str, Any]) -> list[float]:
    return [output["value"]] if "value" in output else list(output["probabilities"].values())


def holed_items() -> list[dict[str, Any]]:
    """Items of every kind: with something absent, with a town never seen, with the largest numbers."""
    whole = [mixed_item(number) for number in range(9)]
    return [
        *whole,
        {name: value for name, value in whole[4].items() if name != "size"},
        whole[5] | {"town": "nowhere"},
        whole[6] | {"size": 3.4e38},
        whole[7] | {"size": -1e300},
    ]


def two_trees(outputs: int) -> Trees:
    """By size, up to 1 or beyond or absent: -1 or 1; by town, x and z or else: -10 or 10."""
    trees = Trees(outputs, count=2 * outputs, nodes=6, depth=1, lookups=1, values=3)
    state = {
        "root": torch.tensor([0] * outputs + [3] * outputs, dtype=torch.int32),
        "feature": torch.tensor([4, 0, 0, 8, 0, 0], dtype=torch.int32),  # 4: size, on the right where it is absent
        "threshold": torch.tensor([1.0, LARGEST, LARGEST, 0.5, LARGEST, LARGEST], dtype=torch.float64),
        "child": torch.tensor([1, 1, 2, 4, 4, 5], dtype=torch.int32),
        "value": torch.tensor([0.0, -1.0, 1.0, 0.0, -10.0, 10.0]),
        "base": torch.arange(outputs) / 7,
        "lookup_column": torch.tensor([3]),
        "lookup_right": torch.tensor([0, 1, 0, 1], dtype=torch.uint8),
    }
    trees.load_state_dict(state)
    return trees


def blend(classes: list[str] | None) -> TableBlend:
    trees = two_trees(len(classes or [0]))
    params = {"count": len(trees.root), "nodes": 6, "depth": 1, "lookups": 1, "values": 3}
    module = TableBlend(MIXED, classes, networks={"hidden": [8], "members": 3}, trees=params)
    module.load_state_dict({**module.state_dict(), **{f"trees.{k}": v for k, v in trees.state_dict().items()}})
    return module


def build(kind: str) -> tuple[Architecture, list[dict[str, Any]]]:
    torch.manual_seed(0)
    module: Architecture
    if kind == "pictures":
        module, items = ImageCNN(["a", "b", "c"]), [{"image": stroke_picture(number)} for number in range(9)]
    elif kind == "photos":
        module = ImageCNN(["a", "b"], preparation="photo", size=24, channels=3)
        items = [{"image": stroke_picture(number).convert("RGB")} for number in range(9)]
    elif kind.startswith("blended"):
        module, items = blend(["no", "yes", "maybe"] if kind == "blended classes" else None), holed_items()
    else:
        classes = ["no", "yes", "maybe"] if kind == "classes" else None
        module, items = TableMLP(MIXED, classes), [mixed_item(number) for number in range(9)]
    return module.eval(), items


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_and_in_a_batch_agree(kind: str) -> None:
    module, items = build(kind)
    together = module.predict(items)
    for item, output in zip(items, together, strict=True):
        alone = module.predict([item])[0]
        assert alone.get("label") == output.get("label")
        assert numbers(alone) == pytest.approx(numbers(output), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_items_give_the_same_outputs(kind: str) -> None:
    module, items = build(kind)
    assert module.predict(items) == module.predict(items)


@pytest.mark.parametrize("kind", ["classes", "blended classes", "pictures"])
def test_probabilities_name_every_class_and_sum_to_one(kind: str) -> None:
    module, items = build(kind)
    for output in module.predict(items):
        probabilities = output["probabilities"]
        assert list(probabilities) == module.classes
        assert sum(probabilities.values()) == pytest.approx(1)
        assert output["label"] == max(probabilities, key=lambda name: probabilities[name])


def test_a_table_encodes_choices_booleans_and_what_is_missing() -> None:
    module = TableMLP(MIXED, ["no", "yes"])
    x = module.encode([{"size": 2.5, "rooms": 3, "garden": True, "town": "y"}, {"rooms": 1, "garden": False}])
    assert x[0].tolist() == [2.5, 0, 3, 1, 0, 1, 0]
    assert x[1, 0].isnan()
    assert x[1, 1:].tolist() == [1, 1, 0, 0, 0, 0]
    assert np.isfinite(numbers(module.eval().predict([{"rooms": 1, "garden": False}])[0])).all()


def test_a_plain_table_also_takes_a_row_with_a_hole() -> None:
    module = TableMLP([{"name": "a", "kind": "number"}, {"name": "b", "kind": "number"}]).eval()
    assert module.encode([{"a": 1.0, "b": 2.0}]).tolist() == [[1.0, 2.0]]
    assert np.isfinite(module.predict([{"a": 1.0}])[0]["value"])


def test_a_table_of_one_column_works() -> None:
    module = TableMLP([{"name": "a", "kind": "number"}]).eval()
    assert module.encode([{"a": 1.0}, {"a": 2.0}]).tolist() == [[1.0], [2.0]]


def test_normalisation_is_part_of_the_weights() -> None:
    module = TableMLP(MIXED)
    assert {"mean", "std", "target_mean", "target_std"} <= set(module.state_dict())


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e-300, 0.0])
def test_the_largest_number_that_is_let_through_gives_a_finite_answer(value: float) -> None:
    module = TableMLP(MIXED).eval()
    module.std.fill_(1e-6)
    assert np.isfinite(module.predict([mixed_item(1) | {"size": value}])[0]["value"])


def test_a_tree_sends_each_row_where_it_learnt_to_also_what_is_absent_or_was_never_seen() -> None:
    module = blend(None)
    items: list[dict[str, Any]] = [
        {"size": 0.5, "town": "x"},
        {"size": 1.0, "town": "z"},
        {"size": 1.0000001, "town": "x"},
        {"town": "x"},
        {"size": 0.5, "town": "y"},
        {"size": 0.5},
        {"size": 0.5, "town": "nowhere"},
        {"size": 1.7e308, "town": "x"},
        {"size": -1.7e308, "town": "x"},
    ]
    said = two_trees(1)(module.encode(items))
    assert said[:, 0].tolist() == [-11, -11, -9, -9, 9, 9, 9, -9, -11]


def test_trees_say_of_many_rows_at_once_what_they_say_of_each_alone() -> None:
    x = blend(None).encode([mixed_item(number) for number in range(200)])
    trees = two_trees(3)
    assert trees(x).tolist() == [trees(row[None])[0].tolist() for row in x]


def test_a_blend_encodes_choices_by_number_and_what_is_missing_as_such() -> None:
    x = blend(None).encode([{"size": 2.5, "rooms": 3, "garden": True, "town": "y"}, {"rooms": 1, "town": "nowhere"}])
    assert x[0].tolist() == [2.5, 3, 1, 1]
    assert x[1].isnan().tolist() == [True, False, True, False]
    assert x[1, 3] == -1


def test_a_blend_of_one_column_works() -> None:
    module = TableBlend([{"name": "a", "kind": "number"}])
    assert module.encode([{"a": 1.0}, {}]).isnan().tolist() == [[False], [True]]
    other = TableBlend([{"name": "a", "kind": "choice", "values": ["x", "y"]}])
    assert other.encode([{"a": "y"}, {"a": "x"}]).tolist() == [[1], [0]]


def test_a_blend_stays_finite_whatever_the_numbers() -> None:
    for classes in (None, ["no", "yes", "maybe"]):
        module = blend(classes).eval()
        assert all(np.isfinite(numbers(output)).all() for output in module.predict(holed_items()))


def test_a_number_answered_stays_near_those_ever_seen() -> None:
    module = blend(None).eval()
    module.target_range.copy_(torch.tensor([-2.0, 3.0]))
    module.target_std.fill_(1e6)
    assert {output["value"] for output in module.predict(holed_items())} <= {-2.0, 3.0}


def test_a_blank_picture_names_its_place_in_the_batch() -> None:
    module, items = build("pictures")
    items[4] = {"image": Image.new("L", (280, 280), 255)}
    with pytest.raises(BadItem, match="blank") as caught:
        module.encode(items)
    assert caught.value.index == 4


@pytest.mark.parametrize("picture", [Image.new("L", (1, 1), 0), Image.new("RGB", (1, 900)), Image.new("L", (900, 1))])
def test_a_picture_without_room_is_blank_and_not_a_crash(picture: Image.Image) -> None:
    with pytest.raises(ink.NoInk):
        ink.prepare(picture, 16)


@pytest.mark.parametrize("size", [(2, 2), (3, 500), (500, 3), (8, 8), (9, 64), (1025, 700), (3000, 40)])
@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_of_any_shape_and_content_are_prepared_or_blank(size: tuple[int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8) // (1 + 60 * seed)
    try:
        prepared = ink.prepare(Image.fromarray(pixels), 16)
    except ink.NoInk:
        return
    assert prepared.shape == (16, 16)
    assert prepared.min() >= 0
    assert prepared.max() <= 1


def test_noise_alone_is_a_blank_picture() -> None:
    noise = np.random.default_rng(0).normal(200, 12, (280, 280)).clip(0, 255).astype(np.uint8)
    with pytest.raises(ink.NoInk):
        ink.prepare(Image.fromarray(noise), 16)


def test_ink_is_the_same_wherever_and_in_whatever_polarity_it_is() -> None:
    plain = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(plain).line([(60, 60), (120, 200), (180, 80)], fill=0, width=14)
    moved = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(moved).line([(130, 120), (190, 260), (250, 140)], fill=0, width=14)
    expected = ink.prepare(plain, 16)
    assert np.abs(ink.prepare(moved, 16) - expected).mean() < 0.02
    assert np.abs(ink.prepare(Image.eval(plain, lambda level: 255 - level), 16) - expected).mean() < 0.005


def test_every_architecture_is_registered_under_one_name() -> None:
    assert {"table-blend": TableBlend, "table-mlp": TableMLP, "image-cnn": ImageCNN} == REGISTRY
    assert all(issubclass(found, Architecture) for found in REGISTRY.values())


def test_a_wrong_preparation_is_refused() -> None:
    with pytest.raises(ValueError, match="preparation"):
        ImageCNN(["a", "b"], preparation="magic")
