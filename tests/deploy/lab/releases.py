"""Releases of this repository to deploy: an archive of HEAD, and of commits made on top of it in a clone."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.session import REPOSITORY

NOBODY = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false")


class Releases:
    """A clone of the checkout's HEAD in `folder`, on the branch main. What is not committed is not in it."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.mark = ""
        _git(folder, "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(self.clone))
        _git(self.clone, "checkout", "--quiet", "-B", "main", head_of(REPOSITORY))

    @property
    def head(self) -> str:
        """The id of the newest commit."""
        return head_of(self.clone)

    def commit(self, changes: Mapping[str, str | None], message: str) -> str:
        """Write files (None: delete) and commit them; returns the new commit's id."""
        for name, text in changes.items():
            path = self.clone / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.head

    def read(self, name: str) -> str:
        return (self.clone / name).read_text()

    def good(self) -> str:
        """A change that a person could see: every page carries `mark` from then on. Returns the commit."""
        name = "serving_site/templates/base.html"
        self.mark = f"<!-- release on top of {self.head[:12]} -->"
        return self.commit({name: self.read(name).replace("</body>", f"{self.mark}</body>")}, "Mark every page")

    def broken(self) -> str:
        """A change with which the site does not start, which no check of the settings finds."""
        name = "serving_site/wsgi.py"
        return self.commit({name: f"{self.read(name)}\nraise RuntimeError('this release cannot start')\n"}, "Break it")

    def back_to(self, commit: str) -> None:
        """Make an earlier commit the newest again."""
        self.git("reset", "--quiet", "--hard", commit)

    def archive(self, commit: str = "HEAD") -> Path:
        """The release archive of a commit; git has written its id into it."""
        whole = self.git("rev-parse", commit).strip()
        path = self.clone.parent / f"{whole[:12]}.tar.gz"
        self.git("archive", "--format=tar.gz", f"--output={path}", whole)
        return path

    def git(self, *arguments: str) -> str:
        return _git(self.clone, *arguments)


def head_of(repository: Path) -> str:
    return _git(repository, "rev-parse", "HEAD").strip()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *NOBODY, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout
