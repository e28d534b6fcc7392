"""What was inferred about a file of data, as a person reads it in a terminal."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mlmodels.datasets import Dataset
from mlmodels.signature_wording import printable

HEADINGS = ("column", "type", "range or values", "unit", "missing")
VALUES_SHOWN = 6
WIDEST = 44


def as_text(dataset: Dataset) -> str:
    """The columns as a table, what was left out and why, and what is to be predicted."""
    return "\n".join(_lines(dataset))


def _lines(dataset: Dataset) -> Iterator[str]:
    schema = dataset.schema
    lines = [HEADINGS, *(_cells(column) for column in schema["columns"])]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADINGS))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    for one in schema.get("left_out", []):
        yield f"Left out: {printable(one['header']) or 'the first column'}, which {one['reason']}."
    if any(column.get("missing") for column in schema["columns"]):
        yield "A missing value stays missing: the form lets it out, and the model learns what that tells."
    yield f"{len(dataset.rows):,} rows. {_target(dataset)}"
    yield from schema.get("notices", [])


def _cells(column: dict[str, Any]) -> tuple[str, ...]:
    missing = f"{column['missing_rows']:,} rows" if column.get("missing_rows") else ""
    unit = column.get("unit", "")
    return _cut(column.get("header") or column["title"]), column["kind"], _cut(_values(column)), unit, missing


def _values(column: dict[str, Any]) -> str:
    if "seen" in column:
        low, high = column["seen"]
        return f"{low:g} to {high:g}"
    if column["kind"] == "boolean":
        return "yes or no"
    return _named([str(value) for value in column.get("values", [])])


def _named(values: list[str]) -> str:
    more = f" and {len(values) - VALUES_SHOWN} more" if len(values) > VALUES_SHOWN else ""
    return ", ".join(printable(value) for value in values[:VALUES_SHOWN]) + more


def _target(dataset: Dataset) -> str:
    target = dataset.schema["target"]
    name = printable(target.get("header") or target["title"])
    if target["kind"] == "number":
        return f"A number is predicted (regression): {name}, {_values(target)} {target.get('unit', '')}".rstrip() + "."
    counts = Counter(dataset.targets)
    shares = [f"{value} ({counts[value]:,})" for value in target["values"]]
    return f"A class is predicted (classification): {name}, {_named(shares)}."


def _cut(text: str) -> str:
    clean = "".join(mark if mark.isprintable() else "\ufffd" for mark in text)
    return clean if len(clean) <= WIDEST else clean[: WIDEST - 1] + "…"
