"""A CSV file for a model that exists → a Dataset under its schema, every fault named by line and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlmodels.datasets import files, inference
from mlmodels.datasets.columns import MISSING, is_number
from mlmodels.datasets.rows import BadData, Dataset, Schema
from mlmodels.signature_wording import printable, shown

Read = Callable[[str], Any]
NAMED = 5


class _Unfit(ValueError):
    """A cell that does not fit; the message says what was expected."""


def read_known(path: Path, schema: Schema, *, header: bool = True) -> tuple[Dataset, list[str]]:
    """The rows of a file that holds the schema's columns, in any order; and the headers that it does not know.

    A cell must be what the model accepts: a number in its range, a value that it has learned. Raises BadData with line
    and column, what was found and what was expected; OSError where the file cannot be read.
    """
    file = files.look_at(path, has_header=header)
    columns, target = schema["columns"], schema["target"]
    places = [_place(column, file.headers) for column in columns]
    answer_at = _place(target, file.headers)
    names = [column["name"] for column in columns]
    rows: list[dict[str, Any]] = []
    targets: list[str | float] = []
    for chunk in file.chunks():
        values = [_read(chunk, at, column) for at, column in zip(places, columns, strict=True)]
        rows += [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*values, strict=True)
        ]
        targets += _read(chunk, answer_at, target)
    if not rows:
        raise BadData("The file has no rows.")
    extra = [printable(name) for at, name in enumerate(file.headers) if at not in {*places, answer_at}]
    return Dataset({**schema, "source": path.name}, rows, targets), extra


def _place(column: Schema, headers: list[str]) -> int:
    """Where a column stands: under the header that it was learned from, or under its name."""
    for wanted in (column.get("header"), column["name"]):
        if wanted in headers:
            return headers.index(wanted)
    found = ", ".join(printable(header) for header in headers[:NAMED])
    more = f" and {len(headers) - NAMED} more" if len(headers) > NAMED else ""
    wanted = printable(column.get("header") or column["name"])
    raise BadData(f"Line 1: the column “{wanted}” is missing; found {found}{more}.")


def _read(chunk: files.Chunk, at: int, column: Schema) -> list[Any]:
    read = _reader(column)
    cells = chunk.columns[at]
    try:
        return [read(cell) for cell in cells]
    except _Unfit as unfit:
        place = next(place for place, cell in enumerate(cells) if not _fits(read, cell))
        name = printable(column.get("header") or column["name"])
        found = shown(cells[place]) if cells[place] else "nothing"
        raise BadData(f"Line {chunk.lines[place]}, column “{name}”: found {found}, expected {unfit}.") from None


def _fits(read: Read, cell: str) -> bool:
    try:
        read(cell)
    except _Unfit:
        return False
    return True


def _reader(column: Schema) -> Read:
    """A cell's text → its value, None for one that may be missing and is."""
    read = READERS[column["kind"]](column)
    if not column.get("missing"):
        return read
    return lambda cell: None if cell in MISSING else read(cell)


def _number(column: Schema) -> Read:
    low, high = column.get("minimum", float("-inf")), column.get("maximum", float("inf"))
    bounds = f" from {low:g} to {high:g}" if "minimum" in column and "maximum" in column else ""
    is_whole = column["kind"] == "integer"
    what = f"{'a whole number' if is_whole else 'a number'}{bounds}"

    def read(cell: str) -> float:
        value = float(cell) if is_number(cell) else None
        if value is None or not low <= value <= high or (is_whole and not value.is_integer()):
            raise _Unfit(what)
        return int(value) if is_whole else value

    return read


def _boolean(column: Schema) -> Read:
    def read(cell: str) -> bool:
        if not any(cell.casefold() in words for words in inference.YES_AND_NO):
            raise _Unfit("true or false")
        return inference.is_yes(cell)

    return read


def _choice(column: Schema) -> Read:
    values: dict[str, str] = {value: value for value in column["values"]}
    known = ", ".join(printable(value) for value in column["values"][:NAMED])
    more = f" or one of {len(values) - NAMED} more" if len(values) > NAMED else ""

    def read(cell: str) -> str:
        for text in (cell, inference.class_of(cell)):
            if text in values:
                return values[text]
        raise _Unfit(f"one of {known}{more}")

    return read


def _image(column: Schema) -> Read:
    def read(cell: str) -> str:
        if not cell.startswith("data:image/"):
            raise _Unfit("a picture as a data URI")
        return cell

    return read


READERS: dict[str, Callable[[Schema], Read]] = {
    "number": _number,
    "integer": _number,
    "boolean": _boolean,
    "choice": _choice,
    "image": _image,
}
