"""What one column of a file holds: counted while it streams by, then decided."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlmodels.signature import NUMBER_TEXT
from mlmodels.signature_rules import FLOAT32_LIMIT

MISSING = frozenset(
    form
    for word in ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--")
    for form in (word, word.upper(), word.capitalize(), "NaN")
)
"""What stands for a value that is not known; blanks around it do not count."""
MOST_CLASSES = 100
LINES_NAMED = 5
ONLY_NUMBERS = re.compile(r"[0-9eE.+-]*")
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
ID_HEADER = re.compile(r"(?:.*[\W_])?(?:id|index|idx|uuid|rownum|rowid|unnamed.*)|", re.IGNORECASE)
CAMEL_ID = re.compile(r".*[a-z](?:Id|ID)")


@dataclass
class Profile:
    """One column: how many cells are known, how many are numbers, which values there are."""

    header: str
    number: int
    rows: int = 0
    missing_lines: list[int] = field(default_factory=list)
    missing: int = 0
    numbers: int = 0
    low: float = math.inf
    high: float = -math.inf
    is_whole: bool = True
    other_than_number: tuple[int, str] | None = None
    """The first known cell that is no number, with its line."""
    decimal_commas: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    """How often each value occurs; no longer kept up once there are too many to be classes."""
    counts_rows: bool = True
    """So far every cell is one more than the cell above."""
    last: float | None = None
    seen: set[float] | None = None
    """Of a column that is called an id: its numbers, as long as none occurs twice."""

    def __post_init__(self) -> None:
        if ID_HEADER.fullmatch(self.header) or CAMEL_ID.fullmatch(self.header):
            self.seen = set()

    @property
    def known(self) -> int:
        return self.rows - self.missing

    @property
    def is_numeric(self) -> bool:
        return self.known > 0 and self.numbers == self.known

    @property
    def has_few_values(self) -> bool:
        """Whether `texts` holds every value."""
        return len(self.texts) <= MOST_CLASSES

    def add(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        """Count some more cells, which end on the given lines."""
        self.rows += len(cells)
        known = [cell for cell in cells if cell not in MISSING]
        if len(known) < len(cells):
            self._note_missing(cells, lines, len(cells) - len(known))
        values = numbers_of(known)
        if values is None:
            self._add_mixed(known, cells, lines)
        elif values:
            self._add_numbers(values, 1 if len(known) == len(cells) else 0)
        if self.has_few_values:
            self.texts.update(known)

    def _note_missing(self, cells: Sequence[str], lines: Sequence[int], count: int) -> None:
        self.missing += count
        self.counts_rows = False
        if room := LINES_NAMED - len(self.missing_lines):
            self.missing_lines += [line for cell, line in zip(cells, lines, strict=True) if cell in MISSING][:room]

    def _add_numbers(self, values: list[float], whole_chunk: int) -> None:
        self.numbers += len(values)
        self.low, self.high = min(self.low, *values), max(self.high, *values)
        self.is_whole = self.is_whole and all(map(float.is_integer, values))
        if self.counts_rows and whole_chunk:
            before = [values[0] - 1 if self.last is None else self.last, *values[:-1]]
            self.counts_rows = all(value - last == 1 for last, value in zip(before, values, strict=True))
            self.last = values[-1]
        if self.seen is not None:
            count = len(self.seen) + len(values)
            self.seen.update(values)
            self.seen = self.seen if len(self.seen) == count else None

    def _add_mixed(self, known: list[str], cells: Sequence[str], lines: Sequence[int]) -> None:
        """The slow way: some known cell is no number."""
        self.counts_rows = False
        first = ""
        for text, count in Counter(known).items():
            if is_number(text):
                value = float(text)
                self.numbers += count
                self.low, self.high = min(self.low, value), max(self.high, value)
                self.is_whole = self.is_whole and value.is_integer()
                continue
            first = first or text
            self.decimal_commas += count if DECIMAL_COMMA.fullmatch(text) else 0
        if self.other_than_number is None:
            self.other_than_number = lines[cells.index(first)], first


def numbers_of(cells: list[str]) -> list[float] | None:
    """The numbers that all cells are, or None. Stricter than `float`, which reads `1_000`, `nan` and wide digits."""
    if not ONLY_NUMBERS.fullmatch("".join(cells)):
        return None
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    fits = not values or (max(values) <= FLOAT32_LIMIT and min(values) >= -FLOAT32_LIMIT)
    return values if fits else None


def is_number(text: str) -> bool:
    """Whether a cell is a number that a 32-bit float can hold."""
    return NUMBER_TEXT.fullmatch(text) is not None and abs(float(text)) <= FLOAT32_LIMIT
