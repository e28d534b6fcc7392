"""Any tidy CSV file → a Dataset, its columns inferred and every fault named by line and column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlmodels.datasets import files, inference
from mlmodels.datasets.columns import Profile
from mlmodels.datasets.inference import FEWEST_ROWS, LeftOut
from mlmodels.datasets.naming import find, safe_names
from mlmodels.datasets.rows import BadData, Dataset, Schema
from mlmodels.signature_wording import printable


def read_table(
    path: Path,
    *,
    target: str,
    header: bool = True,
    task: str = "auto",
    drop: Sequence[str] = (),
    **about: str,
) -> Dataset:
    """The rows of a CSV file, with `target` as what is to be predicted.

    Read twice: once to find out what each column is, once to keep it. `about` gives slug, title, description, source.
    The schema also says what was "left_out" ([{"header", "reason"}]) and "notices" that a person should read.
    Raises BadData for anything that cannot be learned from, OSError where the file cannot be read.
    """
    file = files.look_at(path, has_header=header)
    at = find(target, file.headers)
    dropped = {find(name, file.headers) for name in drop}
    if at in dropped:
        raise BadData(f"The target “{printable(target)}” cannot be left out.")
    profiles = _profiles(file)
    names = safe_names(file.headers)
    answer = inference.infer_target(profiles[at], names[at], task)
    columns: dict[int, Schema] = {}
    left_out = [LeftOut(file.headers[index], "was left out on request") for index in sorted(dropped)]
    for index, profile in enumerate(profiles):
        if index == at or index in dropped:
            continue
        found = inference.infer(profile, names[index])
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif not profile.header:
            raise BadData("Line 1, column 1: found an empty header, expected a name.")
        else:
            columns[index] = found
    if not columns:
        raise BadData("No column is left to learn from: " + "; ".join(f"{one.header} {one.reason}" for one in left_out))
    schema = _schema(path, list(columns.values()), answer, left_out, about)
    rows, targets = _values(file, columns, at, answer)
    schema["notices"] = _notices(answer, targets)
    return Dataset(schema, rows, targets)


def _profiles(file: files.TableFile) -> list[Profile]:
    profiles = [Profile(header, number) for number, header in enumerate(file.headers, start=1)]
    for chunk in file.chunks():
        for profile, cells in zip(profiles, chunk.columns, strict=True):
            profile.add(cells, chunk.lines)
    rows = profiles[0].rows
    if not rows:
        raise BadData("The file has a header and no rows." if file.has_header else "The file has no rows.")
    if rows < FEWEST_ROWS:
        raise BadData(f"The file has {rows} rows: expected at least {FEWEST_ROWS} to learn from and to judge by.")
    return profiles


def _schema(
    path: Path, columns: list[Schema], target: Schema, left_out: list[LeftOut], about: dict[str, str]
) -> Schema:
    slug = about.get("slug", "")
    return {
        "slug": slug,
        "title": about.get("title") or slug.replace("-", " ").capitalize(),
        "description": about.get("description", ""),
        "task": "classification" if target["kind"] == "choice" else "regression",
        "source": about.get("source") or path.name,
        "recipe": "table",
        "columns": columns,
        "target": target,
        "left_out": [{"header": one.header, "reason": one.reason} for one in left_out],
    }


def _values(
    file: files.TableFile, columns: dict[int, Schema], at: int, target: Schema
) -> tuple[list[dict[str, Any]], list[str | float]]:
    """Second pass: the typed rows and their targets."""
    names = [column["name"] for column in columns.values()]
    converters = [(index, inference.converter(column)) for index, column in columns.items()]
    optional = [place for place, column in enumerate(columns.values()) if column.get("missing")]
    rows: list[dict[str, Any]] = []
    targets: list[str | float] = []
    for chunk in file.chunks():
        values = [convert(chunk.columns[index]) for index, convert in converters]
        some = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        for place in optional:
            for row, value in zip(some, values[place], strict=True):
                if value is None:
                    del row[names[place]]
        rows += some
        targets += _targets(target, chunk.columns[at])
    return rows, targets


def _targets(target: Schema, cells: list[str]) -> list[Any]:
    if target["kind"] == "number":
        return list(map(float, cells))
    known = {value: value for value in target["values"]}
    return [known[inference.class_of(cell)] for cell in cells]


def _notices(target: Schema, targets: list[Any]) -> list[str]:
    """A class with one row stays: it is learned, if it falls among the rows to train on, or judged, never both."""
    if target["kind"] != "choice":
        return []
    counts = Counter(targets)
    single = [printable(value) for value in target["values"] if counts[value] == 1]
    if not single:
        return []
    named = ", ".join(single[:5]) + (f" and {len(single) - 5} more" if len(single) > 5 else "")
    return [f"One row only is of class {named}: too little to learn and to judge it by."]
