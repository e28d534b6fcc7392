"""What a push holds, judged without checking it out: one branch, and at its tip the two files of an artifact."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlmodels import artifacts
from mlmodels.artifacts import EXECUTABLE, Artifact
from mlmodels.gitobjects import BrokenRepository, Commit, Entry, Repository
from mlmodels.manifests import MANIFEST, WEIGHTS, RefusedArtifact

BRANCH = "refs/heads/main"
BESIDE = ("README.md", ".gitattributes", ".gitignore")
"""Plain files that may stand beside the artifact for the engineers' own use: nothing here ever reads them."""
LFS = b"version https://git-lfs.github.com/spec/"
ODD_MODES = {
    "40000": "is a folder: {both} stand at the root, alone",
    "120000": "is a symbolic link: push the file itself",
    "160000": "is a submodule: push the files themselves",
}
SHOWN = 20


class RefusedPush(Exception):
    """The push cannot be accepted; the message is one line for each reason."""


@dataclass(frozen=True)
class Update:
    """One line of what a hook reads: `ref` is to move from `old` to `new`. A name of zeros stands for nothing."""

    old: str
    new: str
    ref: str


def read_updates(text: bytes) -> list[Update]:
    """The lines that git gives to pre-receive and post-receive."""
    lines = text.decode(errors="surrogateescape").split("\n")
    return [Update(*line.split(" ", 2)) for line in lines if line.count(" ") >= 2]


def judge_updates(updates: Sequence[Update], repository: Repository) -> Update:
    """The one update of the branch, from nothing or forward. Raises RefusedPush."""
    if refused := [f"{_shown(one.ref)}: only {BRANCH} is accepted here." for one in updates if one.ref != BRANCH]:
        raise RefusedPush(_lines(refused))
    if len(updates) != 1:
        raise RefusedPush(f"Push {BRANCH}, once.")
    (update,) = updates
    if not update.new.strip("0"):
        raise RefusedPush(f"{BRANCH} cannot be deleted: what was delivered stays on record.")
    if repository.kind(update.new) != "commit":
        raise RefusedPush(f"{BRANCH} must point to a commit.")
    if update.old.strip("0") and not repository.is_ancestor(update.old, update.new):
        raise RefusedPush(
            f"{BRANCH} only moves forward, and this commit does not follow the one that is there. "
            "Fetch it, put yours on top (git pull --rebase), push again."
        )
    return update


def read_commit(repository: Repository, name: str) -> Commit:
    """The commit at the tip. Raises RefusedPush."""
    try:
        return repository.commit(name)
    except BrokenRepository as error:
        raise RefusedPush(str(error)) from None


def take(repository: Repository, commit: Commit) -> Artifact:
    """Judge the commit's root tree, then read, judge and store the artifact in it. Raises RefusedPush."""
    try:
        files = _files(repository, commit.tree)
        return artifacts.take_opened(list(files), lambda name: repository.open_blob(files[name].object))
    except (BrokenRepository, RefusedArtifact) as error:
        raise RefusedPush(str(error)) from None


def _files(repository: Repository, tree: str) -> dict[str, Entry]:
    """The entries of the artifact's two files, by name."""
    entries = repository.entries(tree)
    if wrong := [sentence for entry in entries if (sentence := _wrong(entry))]:
        raise RefusedPush(_lines(wrong))
    files = {entry.name: entry for entry in entries if entry.name not in BESIDE}
    if len({entry.name for entry in entries}) != len(entries):
        raise RefusedPush("The same file name occurs twice.")
    if missing := [name for name in (MANIFEST, WEIGHTS) if name not in files]:
        raise RefusedPush(_lines([f"{name} is missing." for name in missing]))
    for name, entry in files.items():
        _judge_blob(repository, name, entry)
    return files


def _wrong(entry: Entry) -> str:
    """Why the entry may not be there; empty where it may."""
    name = _shown(entry.name)
    if odd := ODD_MODES.get(entry.mode.lstrip("0")):
        return f"{name} {odd.format(both=f'{MANIFEST} and {WEIGHTS}')}."
    if entry.name not in (MANIFEST, WEIGHTS, *BESIDE):
        if kind := EXECUTABLE.get(Path(entry.name).suffix.lower()):
            return f"{name}: {kind} can run code when loaded and are refused; export {WEIGHTS}."
        return f"{name} does not belong here: push {MANIFEST} and {WEIGHTS} (beside them, {', '.join(BESIDE)})."
    if entry.mode == "100755":
        return (
            f"{name} is marked executable, and nothing executable is accepted. "
            f"git update-index --chmod=-x {entry.name} takes the mark away; commit and push again."
        )
    return "" if entry.mode in ("100644", "100664") else f"{name} has the mode {_shown(entry.mode)}: expected 100644."


def _judge_blob(repository: Repository, name: str, entry: Entry) -> None:
    """By its header alone, but for the first bytes of a small file."""
    if repository.kind(entry.object) != "blob":
        raise RefusedPush(f"{name} is not a file.")
    size = repository.size(entry.object)
    artifacts.judge_size(name, size)
    if size < 1024:
        with repository.open_blob(entry.object) as file:
            if file.read(len(LFS)) == LFS:
                raise RefusedPush(
                    f"{name} is a Git LFS pointer, not the file. Push the file itself: git lfs untrack {name}, "
                    f"git add --renormalize {name}, commit and push again."
                )


def _shown(text: str) -> str:
    return ascii(text[:80])


def _lines(sentences: list[str]) -> str:
    more = [f"… and {len(sentences) - SHOWN} more."] if len(sentences) > SHOWN else []
    return "\n".join(sentences[:SHOWN] + more)
