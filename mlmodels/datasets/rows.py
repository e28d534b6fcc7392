"""Typed rows and their targets, the hash that names a row, and the CSV file that they go through unchanged."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from mlmodels.signature_wording import shown

Schema = dict[str, Any]
Row = dict[str, Any]

SHORT = 16
"""Hex digits of a row's hash in a manifest: enough that two of a million rows never share them by chance."""
FIELD_BYTES = 64 * 1024**2
"""One cell, a picture at most."""
_encode = json.JSONEncoder(sort_keys=True).encode


class BadData(ValueError):
    """Data that cannot be learned from: where, what was found and what was expected, in one sentence."""


@dataclass(frozen=True)
class Dataset:
    """Rows of a table with what is to be predicted from each.

    schema: {"slug", "title", "description", "task", "source", "recipe", "columns", "target"}. A column is {"name",
    "title", "kind": "number" | "integer" | "boolean" | "choice" | "image"} and, where it applies, "header" (as in the
    file), "unit", "values" and "labels", "missing" (true: may be absent), "minimum" and "maximum" (what is accepted),
    "seen" (the range of the data), "description"; the target likewise, with kind "choice" or "number".
    rows: an absent value is a missing key, a picture a data URI. targets: a class's name, or a number.
    """

    schema: Schema
    rows: list[Row]
    targets: Sequence[str | float]

    @property
    def classes(self) -> list[str]:
        """The classes in order; none where a number is predicted."""
        return list(self.schema["target"].get("values", [])) if self.schema["target"]["kind"] == "choice" else []

    def hashes(self) -> list[str]:
        """The hash of each row."""
        return [row_hash(row) for row in self.rows]

    def subset(self, indices: Sequence[int]) -> Dataset:
        """Some of the rows under the same schema."""
        return Dataset(self.schema, [self.rows[index] for index in indices], [self.targets[index] for index in indices])


def row_hash(row: Mapping[str, Any]) -> str:
    """The sha256 of a row's input: names and values, without the target."""
    return hashlib.sha256(_encode(row).encode()).hexdigest()


def short_hash(row: Mapping[str, Any]) -> str:
    """The start of `row_hash`, as manifests list it."""
    return row_hash(row)[:SHORT]


def labelled_digest(hashes: Sequence[str], targets: Sequence[object]) -> str:
    """One sha256 for rows and their targets, whatever their order."""
    rows = sorted(f"{digest} {target}" for digest, target in zip(hashes, targets, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def write_csv(dataset: Dataset, file: IO[str]) -> None:
    """Write rows and targets so that `read_csv` with the same schema gives exactly them again.

    `file` must leave line ends alone (newline="") and be UTF-8.
    """
    columns, target = dataset.schema["columns"], dataset.schema["target"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column["name"] for column in columns] + [target["name"]])
    texts = [(column["name"], _text_of(column["kind"])) for column in columns]
    last = _text_of(target["kind"])
    for row, answer in zip(dataset.rows, dataset.targets, strict=True):
        writer.writerow([text(row[name]) if name in row else "" for name, text in texts] + [last(answer)])


def _text_of(kind: str) -> Callable[[Any], str]:
    if kind in ("number", "integer"):
        return repr
    return _yes_or_no if kind == "boolean" else str


def _yes_or_no(value: bool) -> str:
    return "true" if value else "false"


def read_csv(file: IO[str], schema: Schema) -> Dataset:
    """What `write_csv` wrote. Raises BadData where the file and the schema do not fit each other."""
    csv.field_size_limit(FIELD_BYTES)
    columns, target = schema["columns"], schema["target"]
    lines = csv.reader(file, strict=True)
    wanted = [column["name"] for column in columns] + [target["name"]]
    try:
        if (header := next(lines, [])) != wanted:
            raise BadData(f"Line 1: found the columns {', '.join(header[:5])} …, expected {', '.join(wanted[:5])} ….")
        rows, targets = [], []
        for row, answer in _typed(lines, columns, target, len(wanted)):
            rows.append(row)
            targets.append(answer)
    except csv.Error as error:
        raise BadData(f"Line {lines.line_num}: {error}.") from None
    return Dataset(schema, rows, targets)


def _typed(lines: Any, columns: list[Schema], target: Schema, width: int) -> Iterator[tuple[Row, Any]]:
    readers = [(column["name"], _value_of(column)) for column in columns]
    last = _value_of(target)
    for cells in lines:
        if len(cells) != width:
            raise BadData(f"Line {lines.line_num}: found {len(cells)} cells, expected {width}.")
        name = ""
        try:
            row = {}
            for (name, value), cell in zip(readers, cells, strict=False):
                if cell:
                    row[name] = value(cell)
            name = target["name"]
            yield row, last(cells[-1])
        except (ValueError, KeyError):
            cell = cells[[*(name for name, _ in readers), target["name"]].index(name)]
            raise BadData(f"Line {lines.line_num}, column {name}: found {shown(cell)}.") from None


class Numbers(dict[str, float]):
    """Text → number, by lookup; the first few that a column holds are kept, so that equal ones are one object."""

    KEPT = 256

    def __missing__(self, text: str) -> float:
        number = float(text)
        if len(self) < self.KEPT:
            self[text] = number
        return number


def _value_of(column: Schema) -> Callable[[str], Any]:
    """A cell's text → its value; raises ValueError or KeyError where it is none."""
    kind = column["kind"]
    if kind == "number":
        return Numbers().__getitem__
    if kind == "integer":
        return int
    if kind == "boolean":
        return {"true": True, "false": False}.__getitem__
    if kind == "choice":
        return {value: value for value in column["values"]}.__getitem__
    return str
