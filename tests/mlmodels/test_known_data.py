"""New data for a model that exists: its columns in any order, every cell what the model accepts."""

from pathlib import Path

import pytest

from mlmodels.datasets import BadData, Dataset, read_table
from mlmodels.datasets.known import read_known

HEADER = "age (years),coat,tame,weight,kind"
ROWS = [f"{2 + number % 9},{'rough' if number % 2 else 'smooth'},{'yes' if number % 3 else 'no'},"
        f"{'' if number == 5 else 10 + number},{'dog' if number % 2 else 'cat'}" for number in range(40)]  # fmt: skip


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def known(tmp_path: Path) -> Dataset:
    return read_table(write(tmp_path / "animals.csv", HEADER, *ROWS), target="kind", slug="animals")


def test_the_same_columns_in_any_order_are_read_and_unknown_ones_left_out(known: Dataset, tmp_path: Path) -> None:
    path = write(
        tmp_path / "new.csv",
        "owner,kind,weight,tame,coat,age (years)",
        "ann,cat,12.5,no,rough,3",
        "bob,dog,,yes,smooth,4",
    )
    data, extra = read_known(path, known.schema)
    names = [column["name"] for column in known.schema["columns"]]
    assert extra == ["owner"]
    assert data.rows == [
        dict(zip(names, (3, "rough", False, 12.5), strict=True)), dict(zip(names, (4, "smooth", True), strict=False))
    ]  # fmt: skip
    assert data.targets == ["cat", "dog"]
    assert data.schema == {**known.schema, "source": "new.csv"}


def test_what_was_learned_from_is_read_again_as_it_was(known: Dataset, tmp_path: Path) -> None:
    again, extra = read_known(tmp_path / "animals.csv", known.schema)
    assert (again.rows, again.targets, extra) == (known.rows, known.targets, [])


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        (HEADER.replace("coat", "fur"), "3,rough,no,12,cat", "Line 1: the column “coat” is missing; found age"),
        (HEADER.replace("kind", "sort"), "3,rough,no,12,cat", "Line 1: the column “kind” is missing; found age"),
        (HEADER, "old,rough,no,12,cat", "Line 3, column “age (years)”: found “old”, expected a number"),
        (HEADER, ",rough,no,12,cat", "Line 3, column “age (years)”: found nothing, expected a number"),
        (HEADER, "1e9,rough,no,12,cat", "Line 3, column “age (years)”: found “1e9”, expected a number"),
        (HEADER, "3,bald,no,12,cat", "Line 3, column “coat”: found “bald”, expected one of rough, smooth."),
        (HEADER, "3,rough,maybe,12,cat", "Line 3, column “tame”: found “maybe”, expected true or false."),
        (HEADER, "3,rough,no,12,cow", "Line 3, column “kind”: found “cow”, expected one of cat, dog."),
        (HEADER, "3,rough,no,12,", "Line 3, column “kind”: found nothing, expected one of cat, dog."),
        (HEADER, "3,rough,no,12", "Line 3: found 4 cells, expected 5 as in line 1"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_with_line_and_column(
    known: Dataset, tmp_path: Path, header: str, row: str, sentence: str
) -> None:
    path = write(tmp_path / "new.csv", header, "3,rough,no,12,cat", row)
    with pytest.raises(BadData) as error:
        read_known(path, known.schema)
    assert str(error.value).startswith(sentence)


def test_a_file_without_rows_is_refused(known: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"^The file has no rows\.$"):
        read_known(write(tmp_path / "new.csv", HEADER), known.schema)
