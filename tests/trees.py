"""Copies of the source tree, for tests that set it up from nothing or take a protection out of it."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.session import REPOSITORY


def copy_tree(destination: Path) -> Path:
    """Copy what git knows or would add, with this session's packages as its .venv; returns `destination`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, destination / name)
    _borrow_packages(destination / ".venv")
    return destination


def patch(tree: Path, name: str, old: str, new: str) -> None:
    """Replace the one occurrence of `old` in a file of a copied tree; fails if the product no longer has it."""
    text = (tree / name).read_text()
    if text.count(old) != 1:
        raise AssertionError(f"{name} holds {old!r} {text.count(old)} times: this patch is out of date")
    (tree / name).write_text(text.replace(old, new))


def _borrow_packages(venv: Path) -> None:
    venv.mkdir(parents=True)
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    stamp = subprocess.run(
        "cat requirements/dev.txt requirements/torch.txt | sha256sum | cut -d' ' -f1",
        shell=True,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (venv / "installed-dev").write_text(stamp)
