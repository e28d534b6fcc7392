"""Rows and their hashes, and the file that they go through unchanged."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmodels.datasets import BadData, Dataset, read_csv, row_hash, short_hash, write_csv
from mlmodels.training import split

SCHEMA: dict[str, Any] = {
    "slug": "houses",
    "task": "regression",
    "columns": [
        {"name": "size", "title": "Size", "kind": "number", "missing": True},
        {"name": "rooms", "title": "Rooms", "kind": "integer"},
        {"name": "garden", "title": "Garden", "kind": "boolean"},
        {"name": "town", "title": "Town", "kind": "choice", "values": ['x, "y"', "z\nz", " "], "missing": True},
        {"name": "front", "title": "Front", "kind": "image"},
    ],
    "target": {"name": "price", "title": "Price", "kind": "number"},
}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {
        "rooms": draw(st.integers(-(2**53), 2**53)),
        "garden": draw(st.booleans()),
        "front": "data:image/png;base64," + draw(st.text("ABab01+/=", max_size=20)),
    }
    if draw(st.booleans()):
        row["size"] = draw(NUMBERS)
    if draw(st.booleans()):
        row["town"] = draw(st.sampled_from(SCHEMA["columns"][3]["values"]))
    return row


def through_a_file(dataset: Dataset) -> Dataset:
    file = io.StringIO(newline="")
    write_csv(dataset, file)
    file.seek(0)
    return read_csv(file, dataset.schema)


@given(st.lists(st.tuples(rows(), NUMBERS), max_size=5))
def test_rows_of_every_kind_come_back_from_a_file_exactly(given: list[tuple[dict[str, Any], float]]) -> None:
    dataset = Dataset(SCHEMA, [row for row, _ in given], [target for _, target in given])
    again = through_a_file(dataset)
    assert again == dataset
    assert again.hashes() == dataset.hashes()


def test_a_picture_larger_than_the_usual_limit_of_a_cell_comes_back() -> None:
    row = {"rooms": 1, "garden": False, "front": "data:image/png;base64," + "A" * 300_000}
    assert through_a_file(Dataset(SCHEMA, [row], [1.0])).rows == [row]


def test_the_hash_of_a_row_depends_on_names_and_values_alone_and_never_changes() -> None:
    assert row_hash({"a": 1.5, "b": "x"}) == row_hash({"b": "x", "a": 1.5})
    assert row_hash({"a": 1.5}) != row_hash({"a": 1.5, "b": "x"})
    # Stored snapshots and manifests rely on this very value.
    assert (
        row_hash({"a": 1.5, "b": "é", "c": True}) == "c25bc4b2ec6f0f1ed1b3feca70d76b7776a9511a80a6528ea59e75f8f2800321"
    )
    assert short_hash({"a": 1.5, "b": "é", "c": True}) == "c25bc4b2ec6f0f1e"
    assert split.by_hash([{"a": 1.5}]).hashes == [row_hash({"a": 1.5})]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Line 1: found the columns  …, expected size, rooms, garden, town, front …."),
        ("size,rooms\n", "Line 1: found the columns size, rooms …, expected size, rooms, garden, town, front …."),
        ("{header}1,2,true\n", "Line 2: found 3 cells, expected 6."),
        ("{header}1,2,true,,d,7\none,2,true,,d,7\n", "Line 3, column size: found “one”."),
        ("{header}1,2,perhaps,,d,7\n", "Line 2, column garden: found “perhaps”."),
        ("{header}1,2,true,nowhere,d,7\n", "Line 2, column town: found “nowhere”."),
        ("{header}1,2,true,,d,\n", "Line 2, column price: found an empty text."),
        ('{header}1,2,true,,"d\n', "Line 2: unexpected end of data."),
    ],
)
def test_a_file_that_does_not_fit_the_schema_is_refused_by_line_and_column(text: str, sentence: str) -> None:
    header = "size,rooms,garden,town,front,price\n"
    with pytest.raises(BadData) as refused:
        read_csv(io.StringIO(text.replace("{header}", header), newline=""), SCHEMA)
    assert str(refused.value) == sentence
