"""What is read of a pushed commit: raw objects, judged without a checkout, by a git that knows nothing but them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlmodels import pushes
from mlmodels.gitobjects import BrokenRepository, Commit, Repository
from mlmodels.pushes import RefusedPush, Update

Stored = Callable[[], list[str]]
ZEROS = "0" * 40
FILE, LINK, MODULE, FOLDER, PROGRAM = "100644", "120000", "160000", "40000", "100755"


class Objects:
    """A bare repository that takes any object, as long as it can be written at all."""

    def __init__(self, path: Path, object_format: str = "sha1") -> None:
        self.path = path
        self.git("init", "--quiet", "--bare", f"--object-format={object_format}", str(path))

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        identity = {f"GIT_{who}_{what}": "erin@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {"PATH": os.environ["PATH"], "GIT_DIR": str(self.path), **identity}
        return subprocess.run(
            ["git", *arguments], env=environment, input=stdin, capture_output=True, check=True
        ).stdout.decode().strip()  # fmt: skip

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def tree(self, *entries: tuple[str, str, str]) -> str:
        raw = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(one) for mode, name, one in entries)
        return self.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=raw)

    def commit(self, tree: str, message: str = "A commit", *parents: str) -> str:
        return self.git("commit-tree", tree, *(word for one in parents for word in ("-p", one)), "-m", message)


@pytest.fixture(params=["sha1", "sha256"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return Objects(tmp_path / "bare.git", request.param)


def files_of(objects: Objects, folder: Path) -> list[tuple[str, str, str]]:
    return [(FILE, path.name, objects.blob(path.read_bytes())) for path in sorted(folder.iterdir())]


def take(objects: Objects, *entries: tuple[str, str, str]) -> str:
    artifact = pushes.take(Repository(objects.path), Commit(objects.tree(*entries), ""))
    return artifact.manifest_sha256


def test_the_two_files_are_stored_by_their_hashes(objects: Objects, folder: Path, stored: Stored) -> None:
    manifest_sha256 = take(objects, *files_of(objects, folder))
    assert manifest_sha256 in stored()
    assert len(stored()) == 2


@pytest.mark.parametrize(
    ("mode", "name", "sentence"),
    [
        (FILE, "../evil", "'../evil' does not belong here"),
        (FILE, "..", "'..' does not belong here"),
        (FILE, "a/manifest.json", "'a/manifest.json' does not belong here"),
        (FILE, "/etc/passwd", "'/etc/passwd' does not belong here"),
        (FILE, "Manifest.json", "'Manifest.json' does not belong here"),
        (FILE, "x\n\x1b[2J", r"'x\n\x1b[2J' does not belong here"),
        (FILE, "model.PT2", "'model.PT2': exported programs (.pt2) can run code when loaded"),
        (LINK, "README.md", "'README.md' is a symbolic link"),
        (MODULE, "sub", "'sub' is a submodule"),
        (FOLDER, "docs", "'docs' is a folder"),
        ("040000", "docs", "'docs' is a folder"),
        (PROGRAM, "README.md", "'README.md' is marked executable"),
        ("100777", "README.md", "'README.md' has the mode '100777': expected 100644."),
        (FILE, "weights.safetensors", "The same file name occurs twice."),
    ],
)
def test_any_other_entry_is_refused_by_name_and_nothing_is_stored(
    objects: Objects, folder: Path, stored: Stored, mode: str, name: str, sentence: str
) -> None:
    files = files_of(objects, folder)
    with pytest.raises(RefusedPush) as refusal:
        take(objects, *files, (mode, name, files[0][2]))
    assert str(refusal.value).startswith(sentence)
    assert stored() == []


def test_a_tree_in_the_place_of_a_file_is_refused(objects: Objects, folder: Path, stored: Stored) -> None:
    (manifest, weights) = files_of(objects, folder)
    with pytest.raises(RefusedPush, match=r"^weights\.safetensors is not a file\.$"):
        take(objects, manifest, (FILE, "weights.safetensors", objects.tree(weights)))
    assert stored() == []


def test_every_reason_has_a_line_up_to_twenty(objects: Objects, folder: Path) -> None:
    files = files_of(objects, folder)
    with pytest.raises(RefusedPush) as refusal:
        take(objects, *files, *((FILE, f"x{number}", files[0][2]) for number in range(25)))
    lines = str(refusal.value).splitlines()
    assert (len(lines), lines[-1]) == (21, "… and 5 more.")


def test_an_empty_commit_says_what_is_missing(objects: Objects) -> None:
    with pytest.raises(RefusedPush) as refusal:
        take(objects)
    assert str(refusal.value) == "manifest.json is missing.\nweights.safetensors is missing."


def judged(objects: Objects, old: str, new: str, ref: str = "refs/heads/main") -> Update:
    return pushes.judge_updates(pushes.read_updates(f"{old} {new} {ref}\n".encode()), Repository(objects.path))


def test_main_is_made_and_moved_forward(objects: Objects) -> None:
    first = objects.commit(objects.tree())
    second = objects.commit(objects.tree(), "Again", first)
    assert judged(objects, ZEROS, first).new == first
    assert judged(objects, first, second).new == second
    with pytest.raises(RefusedPush, match="only moves forward"):
        judged(objects, second, first)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{old} {new} refs/heads/$(touch x) y\n", "'refs/heads/$(touch x) y': only refs/heads/main is accepted here."),
        (b"{old} {new} refs/heads/\xff\x1b\n", r"'refs/heads/\udcff\x1b': only refs/heads/main is accepted here."),
        (b"{old} {new} --upload-pack=x\n", "'--upload-pack=x': only refs/heads/main is accepted here."),
        (b"{new} {old} refs/heads/main\n", "refs/heads/main cannot be deleted: what was delivered stays on record."),
        (b"{old} {tree} refs/heads/main\n", "refs/heads/main must point to a commit."),
        (b"", "Push refs/heads/main, once."),
    ],
)
def test_any_other_update_is_refused(objects: Objects, line: bytes, sentence: str) -> None:
    tree = objects.tree()
    for name, value in {"old": ZEROS, "new": objects.commit(tree), "tree": tree}.items():
        line = line.replace(f"{{{name}}}".encode(), value.encode())
    with pytest.raises(RefusedPush) as refusal:
        pushes.judge_updates(pushes.read_updates(line), Repository(objects.path))
    assert str(refusal.value) == sentence


def test_the_subject_is_the_first_line_of_the_message(objects: Objects) -> None:
    commit = objects.commit(objects.tree(), "Better on thin pens  \n\nBecause of this.")
    assert Repository(objects.path).commit(commit) == Commit(objects.tree(), "Better on thin pens")


@pytest.mark.parametrize("name", ["--help", "HEAD", "refs/heads/main", "0" * 39, "A" * 40, "0" * 40 + "\n", ""])
def test_only_the_name_of_an_object_reaches_a_command_line(objects: Objects, name: str) -> None:
    with pytest.raises(BrokenRepository, match="is not the name of an object"):
        Repository(objects.path).kind(name)


def test_git_learns_nothing_from_the_environment_but_the_quarantine(objects: Objects, tmp_path: Path) -> None:
    given = {"GIT_QUARANTINE_PATH": "/q", "GIT_OBJECT_DIRECTORY": "/o", "GIT_EXEC_PATH": "/evil", "LD_PRELOAD": "/evil"}
    known = Repository(objects.path, given).environment
    assert (known["GIT_QUARANTINE_PATH"], known["GIT_OBJECT_DIRECTORY"]) == ("/q", "/o")
    assert not {"GIT_EXEC_PATH", "LD_PRELOAD"} & set(known)


def test_a_file_is_streamed_and_one_that_is_not_there_is_said(objects: Objects) -> None:
    repository = Repository(objects.path)
    with repository.open_blob(objects.blob(b"x" * 10**6)) as file:
        assert file.read(3) == b"xxx"
    with pytest.raises(BrokenRepository, match="cannot be read"), repository.open_blob("1" * 40) as file:
        assert file.read() == b""
