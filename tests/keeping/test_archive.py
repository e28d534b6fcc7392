"""The file of a backup: whole, or it says where it is not."""

import io
import random
import subprocess
from pathlib import Path

import pytest

from serving_site.keeping.archive import BLOCK, Archive, Changed, Damaged, Writer

FILES = {"database.sqlite3": b"x" * 5000, "uploads/a": b"", "uploads/b": b"y" * BLOCK, "artifacts/c": b"z" * 3_000_000}


def write(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with path.open("wb") as file:
        writer = Writer(file, io.BytesIO())
        for name, content in files.items():
            writer.add(name, io.BytesIO(content), len(content))
        writer.finish({"site": "https://example.org"})
    return path


def read(path: Path) -> dict[str, bytes]:
    with Archive(path) as archive:
        archive.check()
        assert archive.manifest["site"] == "https://example.org"
        return {member.name: b"".join(archive.read(member)) for member in archive.members()}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read(write(tmp_path / "one.tar")) == FILES
    assert read(write(tmp_path / "none.tar", {})) == {}


def test_it_is_a_tar_that_other_programs_read_and_check(tmp_path: Path) -> None:
    path = write(tmp_path / "one.tar")
    subprocess.run(["tar", "-xf", path.name], cwd=tmp_path, check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "contents"], cwd=tmp_path, check=True)
    assert (tmp_path / "artifacts" / "c").read_bytes() == FILES["artifacts/c"]


@pytest.mark.parametrize("content", [b"y" * 99, b"n" * 100])
def test_a_file_that_is_not_what_it_should_be_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.tar"
    with path.open("wb") as file:
        writer = Writer(file, io.BytesIO())
        expected = writer.add("uploads/a", io.BytesIO(b"y" * 100), 100)
        with pytest.raises(Changed, match=r"^uploads/b (ended early|has sha256)"):
            writer.add("uploads/b", io.BytesIO(content), 100, expected)
        writer.finish({"site": "https://example.org"})
    assert read(path) == {"uploads/a": b"y" * 100}


def test_one_flipped_bit_anywhere_is_found_and_told_where(tmp_path: Path) -> None:
    path = write(tmp_path / "one.tar", {**FILES, "artifacts/c": b"z" * 10_000})
    whole = path.read_bytes()
    with Archive(path) as archive:
        padding = {
            at
            for member in [*archive.members(), archive._contents]
            for at in range(member.start + member.size, member.start + member.size + -member.size % BLOCK)
        }
        padding |= set(range(len(whole) - 3 * BLOCK, len(whole)))  # behind the manifest, and the end's own blocks
    chosen = random.Random(7).sample(sorted(set(range(len(whole))) - padding), 300)
    missed = []
    for at in chosen:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            read(path)
            missed.append(at)
        except Damaged:
            pass
    assert missed == []
    path.write_bytes(whole[:5000] + b"!" + whole[5001:])
    with pytest.raises(Damaged, match=r"^one.tar is damaged in database.sqlite3, which begins at byte 512\.$"):
        read(path)


@pytest.mark.parametrize("left", [0, 100, 512, 4000, 20_000, 3_000_000])
def test_one_that_ends_early_is_no_backup(tmp_path: Path, left: int) -> None:
    path = write(tmp_path / "one.tar")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(Damaged, match=r"^one.tar (ends|is damaged) at byte [\d,]+: it is not a whole backup"):
        read(path)


def test_another_file_is_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "one.tar"
    for content in (b"hello" * 1000, bytes(2048)):
        path.write_bytes(content)
        with pytest.raises(Damaged, match=r"^one.tar is "):
            read(path)


def test_a_file_that_was_taken_out_or_put_in_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "one.tar")
    whole = path.read_bytes()
    start = BLOCK + 5120  # behind the database
    path.write_bytes(whole[:start] + whole[start + BLOCK :])
    with pytest.raises(Damaged, match=r"^one.tar lacks uploads/a\.$"):
        read(path)
    path.write_bytes(whole[:start] + whole[start : start + BLOCK] + whole[start:])
    with pytest.raises(Damaged, match=r"^one.tar lacks uploads/b\.$"):
        read(path)
