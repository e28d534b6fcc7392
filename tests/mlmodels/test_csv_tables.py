"""Any tidy CSV file becomes a dataset; whatever is wrong with one is said with its line and column."""

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlmodels import signature_rules
from mlmodels.datasets import BadData, Dataset, read_table
from mlmodels.datasets.inference import accepted

Write = Callable[..., Path]
ROWS = 60
TAKE_OUT = "expected a value in each; take those rows out."
NUMBER_HINT = "; a number is predicted with the task regression"
AMONG_NUMBERS = "expected a number as in 98.3 % of the column, or nothing where it is not known."
SEVERAL = "expected a target and at least one other, separated by commas, semicolons or tabs."
NO_HEADER = "Does the file start with its first row? Then say that it has no header (--no-header)."
TWICE = "expected a quotation mark inside to be written twice"


@pytest.fixture
def table(tmp_path: Path) -> Write:
    """Write a file from columns: a list of cells, or a function of the row's number."""

    def write(*, rows: int = ROWS, delimiter: str = ",", header: bool = True, **columns: Any) -> Path:
        path = tmp_path / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, delimiter=delimiter)
            if header:
                lines.writerow(columns)
            for number in range(rows):
                lines.writerow([cell(number, column) for column in columns.values()])
        return path

    return write


def cell(number: int, column: Any) -> Any:
    return column(number) if callable(column) else column[number % len(column)]


def size(number: int) -> float:
    """A measurement, the same in every run."""
    return round(random.Random(number).uniform(0.5, 9.5), 2)


def column_of(dataset: Dataset, name: str) -> dict[str, Any]:
    (column,) = [column for column in dataset.schema["columns"] if column["name"] == name]
    return dict(column)


def sentence_of(path: Path, **options: Any) -> str:
    with pytest.raises(BadData) as refused:
        read_table(path, **{"target": "kind", **options})
    return str(refused.value)


def reasons(dataset: Dataset) -> dict[str, str]:
    return {one["header"]: one["reason"] for one in dataset.schema["left_out"]}


GOOD = "length,kind\n" + "".join(f"{size(number)},{'ab'[number % 2]}\n" for number in range(40))


# What a column is


def test_numbers_words_and_yes_or_no_are_told_apart(table: Write) -> None:
    path = table(
        length=size,
        count=lambda number: number % 7,
        flag=[0, 1],
        tame=["yes", "no", "Yes"],
        colour=["red", "green", "dark blue"],
        kind=["cat", "dog"],
    )
    dataset = read_table(path, target="kind", slug="pets", title="Pets")
    kinds = {column["name"]: column["kind"] for column in dataset.schema["columns"]}
    assert kinds == {"length": "number", "count": "number", "flag": "number", "tame": "boolean", "colour": "choice"}
    assert column_of(dataset, "colour")["values"] == ["dark blue", "green", "red"]
    assert (column_of(dataset, "flag")["minimum"], column_of(dataset, "flag")["maximum"]) == (0, 1)
    assert dataset.rows[2] == {"length": size(2), "count": 2.0, "flag": 0.0, "tame": True, "colour": "dark blue"}
    assert dataset.targets[:3] == ["cat", "dog", "cat"]
    assert (dataset.schema["slug"], dataset.schema["title"], dataset.schema["source"]) == ("pets", "Pets", "table.csv")


@pytest.mark.parametrize("hole", ["", " ", "?", "NA", "n/a", "NaN", "nan", "NULL", "null", "None", "-"])
def test_what_stands_for_nothing_is_a_missing_value_in_every_kind_of_column(table: Write, hole: str) -> None:
    path = table(
        length=lambda number: hole if number == 3 else size(number),
        tame=lambda number: hole if number == 3 else ["yes", "no"][number % 2],
        colour=lambda number: hole if number == 3 else ["red", "green"][number % 2],
        kind=["cat", "dog"],
    )
    dataset = read_table(path, target="kind")
    assert dataset.rows[3] == {}
    assert set(dataset.rows[4]) == {"length", "tame", "colour"}
    # Not known differs from no, so that a yes-or-no column with holes offers its words.
    assert [column["kind"] for column in dataset.schema["columns"]] == ["number", "choice", "choice"]
    assert all(column["missing"] and column["missing_rows"] == 1 for column in dataset.schema["columns"])


def test_what_cannot_teach_anything_is_left_out_with_a_reason(table: Write) -> None:
    path = table(
        rows=120,
        PassengerId=lambda number: number + 1,
        shuffled_id=lambda number: (number * 7919 + 13) % 100_003,
        name=lambda number: f"Mr {number}",
        note=lambda number: f"text {number % 55}",
        site=["here"],
        nothing=["", "NA"],
        length=size,
        extra=size,
        kind=["cat", "dog"],
    )
    dataset = read_table(path, target="kind", drop=["extra"])
    assert [column["name"] for column in dataset.schema["columns"]] == ["length"]
    assert reasons(dataset) == {
        "extra": "was left out on request",
        "PassengerId": "numbers the rows",
        "shuffled_id": "names each row: its numbers are all different",
        "name": "is text that differs in most rows: names, ids or free text",
        "note": "is text with more than 50 different values: names, ids or free text",
        "site": "is always “here”",
        "nothing": "has no value in any row",
    }


def test_the_row_numbers_that_a_data_frame_writes_first_are_left_out(table: Write) -> None:
    path = table(**{"": lambda number: number, "length": size, "kind": ["cat", "dog"]})
    assert reasons(read_table(path, target="kind")) == {"": "numbers the rows"}


@pytest.mark.parametrize(
    ("header", "name", "title", "unit"),
    [
        ("length (cm)", "length_cm", "Length", "cm"),
        ("length [cm]", "length_cm", "Length", "cm"),
        ("length_cm", "length_cm", "Length", "cm"),
        ("Load [kW/m²]", "load_kw_m2", "Load", "kW/m²"),
        ("bmi (kg/m^2)", "bmi_kg_m_2", "Bmi", "kg/m^2"),
        ("Radius (mean)", "radius_mean", "Radius (mean)", ""),
        ("dose_g", "dose_g", "Dose g", ""),
        ("1stFlrSF", "c_1stflrsf", "1stFlrSF", ""),
        ("Größe", "grosse", "Größe", ""),
        ("длина", "c1", "Длина", ""),
        ("x" * 90, "x" * 60, "X" + "x" * 89, ""),
    ],
)
def test_a_header_becomes_a_name_a_title_and_a_unit(
    table: Write, header: str, name: str, title: str, unit: str
) -> None:
    column = read_table(table(**{header: size, "kind": ["cat", "dog"]}), target="kind").schema["columns"][0]
    assert (column["name"], column["title"], column.get("unit", "")) == (name, title, unit)
    assert column["header"] == header
    assert signature_rules.FIELD_NAME.fullmatch(column["name"])


def test_names_that_would_be_alike_are_told_apart_and_the_one_that_is_a_name_keeps_it(table: Write) -> None:
    path = table(**{"a b": size, "A-B": size, "a_b": size, "Kind": ["cat", "dog"], "kind": size})
    dataset = read_table(path, target="Kind")
    assert [column["name"] for column in dataset.schema["columns"]] == ["a_b_2", "a_b_3", "a_b", "kind"]
    assert dataset.schema["target"]["name"] == "kind_2"


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [
        (0, 1, (0, 1)),
        (2, 4, (1, 5)),
        (0.1, 9.9, (0, 14.8)),
        (-4, 4, (-8, 8)),
        (7, 7, (3.5, 10.5)),
        (0, 0, (0, 1)),
        (1234567, 1234569, (1234566, 1235000)),
        (-3.4e38, 3.4e38, (-3.4e38, 3.4e38)),
    ],
)
def test_a_form_accepts_half_a_range_beyond_what_was_seen(low: float, high: float, bounds: tuple[float, float]) -> None:
    assert accepted(low, high) == bounds


# What is predicted


@pytest.mark.parametrize(
    ("target", "kind", "values"),
    [
        (["b", "a"], "choice", ["a", "b"]),
        (["yes", "no"], "choice", ["no", "yes"]),
        ([10, 9, 2], "choice", ["2", "9", "10"]),
        (["1.0", "1", "2.0"], "choice", ["1", "2"]),
        ([0.5, 1.5], "number", None),
        (list(range(7)), "number", None),  # of 60 rows: fewer than ten for each
        (size, "number", None),
    ],
)
def test_texts_and_few_whole_numbers_are_classes_and_other_numbers_are_not(
    table: Write, target: Any, kind: str, values: Sequence[str] | None
) -> None:
    dataset = read_table(table(length=size, kind=target), target="kind")
    assert (dataset.schema["target"]["kind"], dataset.schema["target"].get("values")) == (kind, values)
    assert dataset.schema["task"] == ("classification" if values else "regression")


def test_the_task_can_be_said(table: Write) -> None:
    path = table(length=size, kind=[3, 5, 4])
    assert read_table(path, target="kind", task="regression").targets[:3] == [3.0, 5.0, 4.0]
    path = table(length=size, kind=[0.5, 1.5, 1])
    assert read_table(path, target="kind", task="classification").schema["target"]["values"] == ["0.5", "1", "1.5"]


def test_a_class_of_a_single_row_stays_and_is_said(table: Write) -> None:
    dataset = read_table(table(length=size, kind=lambda n: "rare" if n == 5 else "ab"[n % 2]), target="kind")
    assert dataset.schema["target"]["values"] == ["a", "b", "rare"]
    assert dataset.schema["notices"] == ["One row only is of class rare: too little to learn and to judge it by."]


@pytest.mark.parametrize(
    ("target", "options", "sentence"),
    [
        (["x"], {}, "The target “kind” is always “x”: expected at least two different values."),
        (
            lambda number: "" if number in (4, 9) else "ab"[number % 2],
            {},
            f"The target “kind” is missing in 2 of 60 rows (lines 6, 11): {TAKE_OUT}",
        ),
        (
            lambda number: "" if number % 2 else "a",
            {},
            f"The target “kind” is missing in 30 of 60 rows (lines 3, 5, 7, 9, 11 and 25 more): {TAKE_OUT}",
        ),
        (["?"], {}, f"The target “kind” is missing in every row: {TAKE_OUT}"),
        (
            lambda number: f"name {number}",
            {},
            "The target “kind” has 60 different values in 60 rows: expected several rows of each.",
        ),
        (
            lambda number: number / 4,
            {"task": "classification", "rows": 300},
            f"The target “kind” has more than 100 different values: expected at most so many classes{NUMBER_HINT}.",
        ),
        (
            ["a", "b"],
            {"task": "regression"},
            "Line 2, column 2 (“kind”): found “a”, expected a number to predict (the task is regression).",
        ),
        (
            lambda number: "many" if number == 30 else number,
            {},
            f"Line 32, column 2 (“kind”): found “many”, {AMONG_NUMBERS}",
        ),
    ],
)
def test_a_target_that_cannot_be_predicted_is_refused(
    table: Write, target: Any, options: dict[str, Any], sentence: str
) -> None:
    path = table(rows=options.pop("rows", ROWS), length=size, kind=target)
    assert sentence_of(path, **options) == sentence


def test_a_target_that_is_not_there_is_answered_with_those_that_are(table: Write) -> None:
    path = table(length=size, Species=["cat", "dog"])
    assert sentence_of(path, target="specis") == (
        "There is no column “specis”. Did you mean “Species”? The file has length, Species."
    )
    assert sentence_of(path, target="Species", drop=["zzz"]) == (
        "There is no column “zzz”. The file has length, Species."
    )
    assert sentence_of(path, target="Species", drop=["Species"]) == "The target “Species” cannot be left out."
    assert read_table(path, target="species").schema["target"]["header"] == "Species"


# How the file is written


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_are_found_out(table: Write, delimiter: str) -> None:
    path = table(delimiter=delimiter, **{"a, b": size, "c;d": ["x,y;z", 'say "hi"'], "e\tf": size, "kind": ["u", "v"]})
    dataset = read_table(path, target="kind")
    assert [column["header"] for column in dataset.schema["columns"]] == ["a, b", "c;d", "e\tf"]
    assert dataset.rows[0]["c_d"] == "x,y;z"


def test_a_byte_order_mark_blank_lines_and_blanks_around_cells_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    lines = [
        "length, kind",
        "",
        *(f' {size(number)} , " <=50K"' for number in range(30)),
        *("1.5,>50K " for _ in "ab"),
    ]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, "", ""]).encode())
    dataset = read_table(path, target="kind")
    assert len(dataset.rows) == 32
    assert dataset.schema["target"]["values"] == ["<=50K", ">50K"]


@pytest.mark.parametrize("end", ["", ","])
def test_a_delimiter_at_the_end_of_the_header_names_no_column(tmp_path: Path, end: str) -> None:
    header, *lines = GOOD.splitlines()
    path = tmp_path / "table.csv"
    path.write_text("\n".join([header + ",", *(line + end for line in lines)]))
    dataset = read_table(path, target="kind")
    assert [column["name"] for column in dataset.schema["columns"]] == ["length"]
    assert len(dataset.rows) == 40


def test_without_a_header_columns_are_numbered(table: Write) -> None:
    path = table(header=False, a=["M", "F", "I"], b=size, c=list(range(1, 30)))
    dataset = read_table(path, target="c3", header=False)
    assert [(column["name"], column["kind"]) for column in dataset.schema["columns"]] == [
        ("c1", "choice"), ("c2", "number"),
    ]  # fmt: skip
    assert dataset.schema["task"] == "regression"
    assert len(dataset.rows) == ROWS


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "The file is empty: expected a line of column names and then rows."),
        ("\n\n", "The file is empty: expected a line of column names and then rows."),
        ("length,kind\n", "The file has a header and no rows."),
        ("length,kind\n1,a\n2,b\n", "The file has 2 rows: expected at least 20 to learn from and to judge by."),
        (
            "length|kind\n1|a\n",
            f"Line 1: found one column, {SEVERAL}",
        ),
        (GOOD.replace("\n", ",x\n").replace("kind,x", "kind,"), "Line 2: found 3 cells, expected 2 as in line 1."),
        ("length,,kind\n1,2,a\n", "Line 1, column 2: found an empty header, expected a name."),
        ("length,length,kind\n1,2,a\n", "Line 1, column 2: found “length” again, as column 1 is called."),
        (",kind\n" + GOOD.partition("\n")[2], "Line 1, column 1: found an empty header, expected a name."),
        (
            GOOD.partition("\n")[2],
            f"Line 1: found “8.1” where the name of a column is expected. {NO_HEADER}",
        ),
        (GOOD + "1,a,extra\n", "Line 42: found 3 cells, expected 2 as in line 1."),
        (GOOD + "1\n" + GOOD, "Line 42: found 1 cells, expected 2 as in line 1."),
        (GOOD + '1,"a\n', "Line 42: a quoted cell is never closed: expected another quotation mark."),
        (
            GOOD + '1,"a"b\n',
            f"Line 42: a quoted cell goes on behind its closing mark: {TWICE}.",
        ),
        (GOOD + "1,a\0\n", "Line 42: found a NUL byte, expected text in UTF-8."),
        (GOOD.encode() + b"1,caf\xe9\n", "Line 42: found the byte 0xe9, expected text in UTF-8 (save it as such)."),
        (GOOD.encode() + b"1,caf\xc3", "Line 42: the file ends inside a character, expected text in UTF-8."),
        (GOOD.encode("utf-16"), "Line 1: found the byte 0xff, expected text in UTF-8 (save it as such)."),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_line(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert sentence_of(path) == sentence


@pytest.mark.parametrize(
    "odd", ["1_000", "\uff11\uff12", "infinity", "1e400", "0x10", "12 kg", "1.2.3", "3.5e38", "e", "."]
)
def test_a_text_among_numbers_is_named_with_its_place(table: Write, odd: str) -> None:
    path = table(length=lambda number: odd if number == 50 else size(number), kind=["cat", "dog"])
    assert sentence_of(path) == f"Line 52, column 1 (“length”): found “{odd}”, {AMONG_NUMBERS}"


def test_decimal_commas_are_not_guessed(table: Write) -> None:
    path = table(delimiter=";", length=lambda number: str(size(number)).replace(".", ","), kind=["cat", "dog"])
    assert sentence_of(path) == (
        "Line 2, column 1 (“length”): found “8,1”, expected a number with a decimal point; decimal commas and "
        "thousands separators are not guessed."
    )


def test_a_line_is_the_line_of_the_file_even_behind_cells_of_several_lines(table: Write) -> None:
    path = table(
        colour=["red\nor so", "green"], length=lambda number: "x" if number == 40 else size(number), kind=["cat", "dog"]
    )
    assert sentence_of(path).startswith("Line 63, column 2 (“length”): found “x”")


def test_a_table_of_which_nothing_remains_is_refused(table: Write) -> None:
    path = table(site=["here"], name=lambda number: f"n{number}", kind=["cat", "dog"])
    assert sentence_of(path) == (
        "No column is left to learn from: site is always “here”; name is text that differs in most rows: names, ids or "
        "free text"
    )


def test_rows_beyond_the_first_chunk_are_read_as_the_others(table: Write) -> None:
    path = table(rows=9000, length=lambda n: "" if n == 8999 else size(n), row=lambda n: n, kind=["cat", "dog"])
    dataset = read_table(path, target="kind")
    assert len(dataset.rows) == len(dataset.targets) == 9000
    assert dataset.rows[8998] == {"length": size(8998)}
    assert dataset.rows[8999] == {}
    assert reasons(dataset) == {"row": "numbers the rows"}


# Tables as they are met with


def of(*values: object) -> Callable[[int], object]:
    """A column that picks among values, the same in every run."""
    return lambda number: random.Random(f"{number} {values}").choice(values)


KNOWN_SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str], str]] = {
    "passengers": (
        {
            "PassengerId": lambda n: n + 1, "Survived": of(0, 1), "Pclass": of(1, 2, 3),
            "Name": lambda n: f"Last{n}, Mr. First", "Sex": of("male", "female"), "Age": of("", 22, 38.5, 4),
            "Ticket": lambda n: f"A/5 {n}" if n % 3 == 0 else 113800 + n % 190,
            "Cabin": of("", "", "", "C85", "E46 F2"), "Embarked": of("S", "C", ""),
        },
        {"target": "Survived"},
        {"pclass": "number", "sex": "choice", "age": "number", "cabin": "choice", "embarked": "choice"},
        "classification",
    ),
    "incomes without a header, with blanks before each cell": (
        {
            "c1": of(39, 50), "c2": of(" State-gov", " Private", " ?"), "c3": of(" 77516", " 83311"),
            "c4": of(" United-States", " Cuba"), "c5": of(" <=50K", " >50K"),
        },
        {"target": "c5", "header": False},
        {"c1": "number", "c2": "choice", "c3": "number", "c4": "choice"},
        "classification",
    ),
    "cars with question marks among the numbers": (
        {
            "mpg": size, "cylinders": of(4, 6, 8), "horsepower": of(130, 165, 150, "?"),
            "weight": lambda n: 2000 + 7 * n, "car name": lambda n: f"ford {n}",
        },
        {"target": "mpg"},
        {"cylinders": "number", "horsepower": "number", "weight": "number"},
        "regression",
    ),
    "wines with semicolons and quotes": (
        {"fixed acidity": size, "pH": of(3.51, 3.2), "quality": of(5, 6, 7)},
        {"target": "quality", "delimiter": ";"},
        {"fixed_acidity": "number", "ph": "number"},
        "classification",
    ),
    "mushrooms in single letters": (
        {
            "class": of("e", "p"), "bruises": of("t", "f"), "stalk-root": of("b", "c", "?"), "veil-type": of("p"),
            "gill-size": of("n", "b"),
        },
        {"target": "class"},
        {"bruises": "boolean", "stalk_root": "choice", "gill_size": "choice"},
        "classification",
    ),
    "frauds, rare": (
        {"Time": lambda n: n // 2, "V1": size, "Amount": size, "Class": lambda n: int(n in (5, 40, 41, 77))},
        {"target": "Class"},
        {"time": "number", "v1": "number", "amount": "number"},
        "classification",
    ),
    "houses": (
        {
            "longitude": of(-122.23, -121.9), "total_bedrooms": of(129.0, 1106.0, ""),
            "ocean_proximity": of("NEAR BAY", "<1H OCEAN"), "median_house_value": lambda n: 452600.0 - 100 * n,
        },
        {"target": "median_house_value"},
        {"longitude": "number", "total_bedrooms": "number", "ocean_proximity": "choice"},
        "regression",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", KNOWN_SHAPES)
def test_tables_as_they_are_met_with_are_read_as_a_person_would(table: Write, shape: str) -> None:
    columns, options, kinds, task = KNOWN_SHAPES[shape]
    delimiter, header = options.get("delimiter", ","), options.get("header", True)
    path = table(rows=200, delimiter=delimiter, header=header, **columns)
    dataset = read_table(path, target=options["target"], header=header)
    assert {column["name"]: column["kind"] for column in dataset.schema["columns"]} == kinds
    assert dataset.schema["task"] == task
    assert len(dataset.rows) == 200
