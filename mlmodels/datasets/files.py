"""A CSV file of any origin → its header and its cells, column by column; every fault with its line."""

from __future__ import annotations

import codecs
import contextlib
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mlmodels.datasets.rows import FIELD_BYTES, BadData
from mlmodels.signature import NUMBER_TEXT
from mlmodels.signature_rules import MAX_FIELDS
from mlmodels.signature_wording import shown

DELIMITERS = ",;\t"
SNIFFED_ROWS = 50
CHUNK_BYTES = 1024**2
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Chunk:
    """Some rows: the line that each ends on, and their cells by column, without blanks around."""

    lines: list[int]
    columns: list[list[str]]


@dataclass(frozen=True)
class TableFile:
    """A CSV file that has been looked at: UTF-8, with a delimiter and as many names as columns."""

    path: Path
    delimiter: str
    has_header: bool
    headers: list[str]
    ends_with_delimiter: bool
    """Whether the header has a delimiter at its end that names no column; rows may have one too."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows, blank lines left out. Raises BadData at the first that has another number of cells."""
        with _open(self.path) as file:
            lines = _reader(file, self.delimiter)
            if self.has_header:
                _first(lines)
            while chunk := self._chunk(lines):
                yield chunk

    def _chunk(self, lines: Any) -> Chunk | None:
        numbers: list[int] = []
        rows: list[list[str]] = []
        try:
            for row in lines:
                if not row:
                    continue
                if self.ends_with_delimiter and len(row) > len(self.headers) and not row[-1]:
                    row.pop()
                if len(row) != len(self.headers):
                    raise BadData(
                        f"Line {lines.line_num}: found {len(row)} cells, expected {len(self.headers)} as in line 1."
                    )
                numbers.append(lines.line_num)
                rows.append(row)
                if len(rows) == CHUNK_ROWS:
                    break
        except csv.Error as error:
            raise BadData(f"Line {lines.line_num}: {_explained(error)}.") from None
        return (
            Chunk(numbers, [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]) if rows else None
        )


def look_at(path: Path, *, has_header: bool) -> TableFile:
    """Find out how a file is written. Raises BadData."""
    _check_bytes(path)
    delimiter = _sniff(path)
    with _open(path) as file:
        first = [cell.strip() for cell in _first(_reader(file, delimiter))]
    if ends := has_header and len(first) > 1 and not first[-1]:
        first.pop()
    if not first:
        raise BadData("The file is empty: expected a line of column names and then rows.")
    if len(first) == 1:
        raise BadData(
            "Line 1: found one column, expected a target and at least one other, separated by commas, semicolons or "
            "tabs."
        )
    if len(first) > MAX_FIELDS:
        raise BadData(f"Line 1: found {len(first):,} columns, expected at most {MAX_FIELDS:,}.")
    headers = first if has_header else [f"c{number}" for number in range(1, len(first) + 1)]
    if has_header:
        _check_headers(headers)
    return TableFile(path, delimiter, has_header, headers, ends)


def _open(path: Path) -> Any:
    return path.open(encoding="utf-8-sig", newline="")


def _reader(file: Any, delimiter: str) -> Any:
    csv.field_size_limit(FIELD_BYTES)
    return csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)


def _first(lines: Any) -> list[str]:
    """The first line that is not blank; an empty list where there is none."""
    try:
        row: list[str] = next((row for row in lines if row), [])
    except csv.Error as error:
        raise BadData(f"Line {lines.line_num}: {_explained(error)}.") from None
    return row


def _explained(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quoted cell is never closed: expected another quotation mark"
    if "expected after" in str(error):
        return "a quoted cell goes on behind its closing mark: expected a quotation mark inside to be written twice"
    return str(error)


def _check_bytes(path: Path) -> None:
    """Refuse what is not UTF-8 text, with the line: a file in another encoding would be learned from as nonsense."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                kept = error.object[: error.start]
                found = f"0x{error.object[error.start]:02x}"
                raise BadData(
                    f"Line {line + kept.count(10)}: found the byte {found}, expected text in UTF-8 (save it as such)."
                ) from None
            if (nul := chunk.find(b"\0")) >= 0:
                line += chunk[:nul].count(b"\n")
                raise BadData(f"Line {line}: found a NUL byte, expected text in UTF-8.")
            line += chunk.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadData(f"Line {line}: the file ends inside a character, expected text in UTF-8.") from None


def _sniff(path: Path) -> str:
    """The delimiter under which the first rows have the same number of cells, the most of them."""

    def regularity(delimiter: str) -> tuple[bool, int]:
        widths: list[int] = []
        with _open(path) as file, contextlib.suppress(csv.Error):
            widths += (len(row) for row in islice(_reader(file, delimiter), SNIFFED_ROWS) if row)
        return len(set(widths)) == 1 and widths[0] > 1, widths[0] if widths else 0

    return max(DELIMITERS, key=regularity)


def _check_headers(headers: list[str]) -> None:
    numbers = [header for header in headers if NUMBER_TEXT.fullmatch(header)]
    if 2 * len(numbers) >= len(headers) and headers != [str(number) for number in range(len(headers))]:
        raise BadData(
            f"Line 1: found {shown(numbers[0])} where the name of a column is expected. Does the file start with its "
            "first row? Then say that it has no header (--no-header)."
        )
    seen: dict[str, int] = {}
    for number, header in enumerate(headers, start=1):
        if not header and number > 1:
            raise BadData(f"Line 1, column {number}: found an empty header, expected a name.")
        if header in seen:
            raise BadData(f"Line 1, column {number}: found {shown(header)} again, as column {seen[header]} is called.")
        seen[header] = number
