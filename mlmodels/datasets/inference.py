"""Decides what each column is, and what is to be predicted. README, "A table", states the same rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlmodels.datasets.columns import DECIMAL_COMMA, LINES_NAMED, MISSING, MOST_CLASSES, Profile, is_number
from mlmodels.datasets.naming import title_and_unit, titled
from mlmodels.datasets.rows import BadData, Numbers, Schema
from mlmodels.signature_rules import FLOAT32_LIMIT
from mlmodels.signature_wording import shown

MOST_CHOICES = 50
MOST_NUMBERED_CLASSES = 20
ROWS_PER_CLASS = 10
"""Whole numbers are classes where there are few, with so many rows for each on average."""
DOMINATES = 0.9
FEWEST_ROWS = 20
YES_AND_NO = ({"yes", "no"}, {"true", "false"}, {"y", "n"}, {"t", "f"})
NO = frozenset(("no", "false", "n", "f"))
TASKS = ("auto", "classification", "regression")


@dataclass(frozen=True)
class LeftOut:
    """A column that is not learned from, and why: shown to the person."""

    header: str
    reason: str


def infer(profile: Profile, name: str) -> Schema | LeftOut:
    """The schema of an input column. Raises BadData where numbers dominate and something else is among them."""
    if reason := _useless(profile):
        return LeftOut(profile.header, reason)
    refuse_almost_numbers(profile)
    title, unit = title_and_unit(profile.header)
    column: Schema = {"name": name, "title": title, "header": profile.header}
    if profile.is_numeric:
        low, high = accepted(profile.low, profile.high)
        column |= {"kind": "number", "seen": [profile.low, profile.high], "minimum": low, "maximum": high}
        column |= {"unit": unit} if unit else {}
    elif _is_boolean(profile) and not profile.missing:
        column["kind"] = "boolean"
    else:
        column |= {"kind": "choice", "values": sorted(profile.texts)}
    if column["kind"] != "number":
        column["title"] = titled(profile.header)
    if profile.missing:
        column |= {"missing": True, "missing_rows": profile.missing}
    return column


def accepted(low: float, high: float) -> tuple[float, float]:
    """What a form accepts: half a range beyond what was seen, not below 0 where nothing was, 0 and 1 as they are."""
    if (low, high) == (0, 1):
        return 0.0, 1.0
    spread = (high / 2 - low / 2) or abs(low) / 2 or 1.0
    least, most = max(low - spread, -FLOAT32_LIMIT), min(high + spread, FLOAT32_LIMIT)
    return 0.0 if low >= 0 > least else min(least, _tidy(least)), max(most, _tidy(most))


def _tidy(value: float) -> float:
    """Four significant digits: what a person wants to read."""
    return float(f"{value:.4g}")


def _useless(profile: Profile) -> str:
    """Why nothing can be learned from the column, or an empty text."""
    if not profile.known:
        return "has no value in any row"
    if len(profile.texts) == 1 and not profile.missing:
        return f"is always {shown(next(iter(profile.texts)))}"
    if profile.is_numeric:
        if profile.counts_rows:
            return "numbers the rows"
        return "names each row: its numbers are all different" if profile.seen and profile.is_whole else ""
    return "" if _almost_numbers(profile) or _uses_commas(profile) else _too_various(profile)


def _too_various(profile: Profile) -> str:
    if 2 * len(profile.texts) > profile.known >= FEWEST_ROWS:
        return "is text that differs in most rows: names, ids or free text"
    if len(profile.texts) > MOST_CHOICES:
        return f"is text with more than {MOST_CHOICES} different values: names, ids or free text"
    return ""


def _almost_numbers(profile: Profile) -> bool:
    return profile.numbers >= DOMINATES * profile.known


def _uses_commas(profile: Profile) -> bool:
    return profile.decimal_commas + profile.numbers >= DOMINATES * profile.known and profile.decimal_commas > 0


def refuse_almost_numbers(profile: Profile) -> None:
    """Raise BadData where nearly all known cells are numbers, or would be with a decimal point."""
    if profile.is_numeric or profile.other_than_number is None:
        return
    where, text = _first_other(profile)
    if _uses_commas(profile) and DECIMAL_COMMA.fullmatch(text):
        raise BadData(
            f"{where}: found {shown(text)}, expected a number with a decimal point; decimal commas and thousands "
            "separators are not guessed."
        )
    if _almost_numbers(profile):
        share = _percent(profile.numbers / profile.known)
        raise BadData(
            f"{where}: found {shown(text)}, expected a number as in {share} of the column, or nothing where it is not "
            "known."
        )


def _first_other(profile: Profile) -> tuple[str, str]:
    """Where the first cell is that is known and no number, and what it holds."""
    line, text = profile.other_than_number or (0, "")
    return f"Line {line}, column {profile.number} ({shown(profile.header)})", text


def _percent(share: float) -> str:
    return f"{min(100 * share, 99.9):.3g} %"


def _is_boolean(profile: Profile) -> bool:
    return {text.casefold() for text in profile.texts} in YES_AND_NO


def is_yes(text: str) -> bool:
    """What a word of YES_AND_NO says."""
    return text.casefold() not in NO


def infer_target(profile: Profile, name: str, task: str) -> Schema:
    """The schema of the target: classes, or a number. Raises BadData where it cannot be predicted."""
    where = f"The target {shown(profile.header)}"
    _refuse_holes(profile, where)
    if len(profile.texts) == 1:
        raise BadData(f"{where} is always {shown(next(iter(profile.texts)))}: expected at least two different values.")
    refuse_almost_numbers(profile)
    title, unit = title_and_unit(profile.header)
    target: Schema = {"name": name, "title": title, "header": profile.header}
    if _are_classes(profile, task):
        values = classes_of(profile, where)
        return {**target, "title": titled(profile.header), "kind": "choice", "values": values}
    if not profile.is_numeric:
        at, text = _first_other(profile)
        raise BadData(f"{at}: found {shown(text)}, expected a number to predict (the task is regression).")
    target |= {"kind": "number", "seen": [profile.low, profile.high]}
    return target | ({"unit": unit} if unit else {})


def _refuse_holes(profile: Profile, where: str) -> None:
    if not profile.missing:
        return
    lines = ", ".join(str(line) for line in profile.missing_lines)
    more = f" and {profile.missing - LINES_NAMED:,} more" if profile.missing > LINES_NAMED else ""
    of = "every row" if not profile.known else f"{profile.missing:,} of {profile.rows:,} rows (lines {lines}{more})"
    raise BadData(f"{where} is missing in {of}: expected a value in each; take those rows out.")


def _are_classes(profile: Profile, task: str) -> bool:
    if task != "auto":
        return task == "classification"
    if not profile.is_numeric:
        return True
    few = len({class_of(text) for text in profile.texts})
    return profile.is_whole and few <= min(MOST_NUMBERED_CLASSES, profile.rows / ROWS_PER_CLASS)


def classes_of(profile: Profile, where: str) -> list[str]:
    """The classes in order: numbers by size, texts by letter. Raises BadData where there are too many to learn."""
    if not profile.has_few_values:
        hint = "; a number is predicted with the task regression" if profile.is_numeric else ""
        raise BadData(f"{where} has more than {MOST_CLASSES} different values: expected at most so many classes{hint}.")
    classes = {class_of(text) for text in profile.texts}
    if 2 * len(classes) > profile.rows:
        raise BadData(
            f"{where} has {len(classes)} different values in {profile.rows} rows: expected several rows of each."
        )
    return sorted(classes, key=float) if profile.is_numeric else sorted(classes)


def class_of(text: str) -> str:
    """The class that a cell names: `1`, `1.0` and `01` are one."""
    if not is_number(text):
        return text
    value = float(text)
    return str(int(value)) if value.is_integer() else repr(value)


def converter(column: Schema) -> Callable[[list[str]], list[object]]:
    """Cells → the values of a column, None for a missing one."""
    if column["kind"] == "boolean":
        return lambda cells: [is_yes(cell) for cell in cells]
    if column["kind"] == "choice":
        known = {value: value for value in column["values"]}
        return lambda cells: [known.get(cell) for cell in cells]
    number = Numbers().__getitem__
    if not column.get("missing"):
        return lambda cells: list(map(number, cells))
    return lambda cells: [None if cell in MISSING else number(cell) for cell in cells]
