"""Commits, trees and files of a bare repository, read by git's plumbing: nothing is checked out, no shell takes part.

Everything in such a repository comes from outside. Object names are hexadecimal before they reach a command line,
names of refs and files never do, and git runs with an environment of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
QUARANTINE = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
"""With these git tells a hook where the objects of a push wait until it is accepted."""
MAX_COMMIT_BYTES = 1024 * 1024
MAX_TREE_BYTES = 1024 * 1024
TIMEOUT_S = 60


class BrokenRepository(Exception):
    """Git could not read what it should hold; the message is one sentence."""


@dataclass(frozen=True)
class Entry:
    """One line of a tree. `name` is as it was pushed: show it escaped."""

    mode: str
    name: str
    object: str


@dataclass(frozen=True)
class Commit:
    """A commit: its root tree and the first line of its message."""

    tree: str
    subject: str


class Repository:
    """A bare repository; `quarantine` holds the variables of QUARANTINE that a hook was given, and no other."""

    def __init__(self, path: Path, quarantine: Mapping[str, str] | None = None) -> None:
        self.path = path
        kept = {name: value for name, value in (quarantine or {}).items() if name in QUARANTINE}
        self.environment = {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "HOME": str(path),
            "GIT_DIR": str(path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **kept,
        }

    def kind(self, name: str) -> str:
        """commit, tree, blob or tag; empty where there is no such object."""
        done = self._run("cat-file", "-t", _checked(name))
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def size(self, name: str) -> int:
        return int(self._output("cat-file", "-s", _checked(name)))

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` has `old` among its ancestors, or is the same commit; False where one of them is not there."""
        done = self._run("merge-base", "--is-ancestor", _checked(old), _checked(new))
        return done.returncode == 0

    def tip(self, branch: str) -> str:
        """The commit of one of our own branches; empty where it has none yet."""
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/heads/{branch}^{{commit}}")
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def commit(self, name: str) -> Commit:
        head, _, message = self._small(name, "commit", MAX_COMMIT_BYTES).partition(b"\n\n")
        tree = re.match(rb"tree ([0-9a-f]+)\n", head)
        if tree is None:
            raise BrokenRepository(f"The commit {name[:12]} names no tree.")
        lines = message.decode(errors="replace").strip().splitlines()
        return Commit(_checked(tree[1].decode()), lines[0].strip() if lines else "")

    def entries(self, tree: str) -> list[Entry]:
        """What the tree lists, as it is written: mode, a space, the name, NUL, the object's bytes."""
        data, width = self._small(tree, "tree", MAX_TREE_BYTES), len(tree) // 2
        found, at = [], 0
        while at < len(data):
            end = data.find(b"\0", at)
            mode, space, name = data[at:end].partition(b" ")
            if end < 0 or not space or end + 1 + width > len(data):
                raise BrokenRepository(f"The tree {tree[:12]} cannot be read.")
            found.append(Entry(mode.decode(errors="replace"), os.fsdecode(name), data[end + 1 : end + 1 + width].hex()))
            at = end + 1 + width
        return found

    @contextlib.contextmanager
    def open_blob(self, name: str) -> Iterator[IO[bytes]]:
        """The bytes of a file, as a stream. Raises BrokenRepository at the end where git could not give them all."""
        with subprocess.Popen(
            ["git", "cat-file", "blob", _checked(name)],
            env=self.environment,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as git:
            assert git.stdout is not None
            try:
                yield git.stdout
                was_read = not git.stdout.read(1)
            except BaseException:
                git.kill()
                raise
            if not was_read:
                git.kill()
            elif git.wait(TIMEOUT_S):
                raise BrokenRepository(f"The file {name[:12]} cannot be read.")

    def _small(self, name: str, kind: str, limit: int) -> bytes:
        if self.kind(name) != kind:
            raise BrokenRepository(f"The object {name[:12]} is no {kind}.")
        if (size := self.size(name)) > limit:
            raise BrokenRepository(f"The {kind} {name[:12]} has {size:,} bytes; at most {limit:,} are accepted.")
        return self._output("cat-file", kind, name)

    def _output(self, *arguments: str) -> bytes:
        done = self._run(*arguments)
        if done.returncode != 0:
            raise BrokenRepository(f"git {arguments[0]} failed: {done.stderr[:200]!a}.")
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", *arguments],
            env=self.environment,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )


def _checked(name: str) -> str:
    if not OBJECT.fullmatch(name):
        raise BrokenRepository(f"{name[:80]!a} is not the name of an object.")
    return name
