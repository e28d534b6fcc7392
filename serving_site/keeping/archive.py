"""The file of a backup: a plain tar of files, then `contents` (as sha256sum writes it), then `manifest.json`.

Both ends stream: neither a file nor the list of files is ever held in memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

CHUNK = 1024 * 1024
BLOCK = tarfile.BLOCKSIZE
CONTENTS, MANIFEST = "contents", "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024


class Damaged(Exception):
    """The archive is not what was written; the message is one sentence that says where."""


class Changed(Exception):
    """What was to be added is not what it should be; nothing of it is in the archive."""


class Writer:
    """Adds one file after the other to `file`, which is open for writing and can be moved in."""

    def __init__(self, file: IO[bytes], scratch: IO[bytes]) -> None:
        """`scratch` keeps the list of contents until it is added itself."""
        self.file = file
        self.contents = scratch
        self.count = 0

    def add(self, name: str, source: IO[bytes], size: int, expected: str = "") -> str:
        """Add `size` bytes of `source` as `name`; returns their sha256. Raises Changed."""
        start, digest, left = self.file.tell(), hashlib.sha256(), size
        self.file.write(_header(name, size))
        while left and (chunk := source.read(min(CHUNK, left))):
            digest.update(chunk)
            self.file.write(chunk)
            left -= len(chunk)
        found = digest.hexdigest()
        if left or found != (expected or found):
            self.file.seek(start)
            self.file.truncate()
            raise Changed(f"{name} ended early" if left else f"{name} has sha256 {found[:16]}…")
        self.file.write(bytes(-size % BLOCK))
        self.contents.write(f"{found}  {name}\n".encode())
        self.count += 1
        return found

    def finish(self, manifest: dict[str, Any]) -> None:
        """Close the archive with its list of contents and `manifest`."""
        size = self.contents.tell()
        self.contents.seek(0)
        listed = Writer(self.file, io.BytesIO()).add(CONTENTS, self.contents, size)
        known = {**manifest, "files": self.count, "contents_sha256": listed}
        text = json.dumps({**known, "sha256": _digest_of(known)}, indent=1).encode()
        Writer(self.file, io.BytesIO()).add(MANIFEST, io.BytesIO(text), len(text))
        self.file.write(bytes(2 * BLOCK))


@dataclass(frozen=True)
class Member:
    """A file in an archive, and where its bytes begin."""

    name: str
    start: int
    size: int


class Archive:
    """A backup on disk, read. Close it, or use it as a context."""

    def __init__(self, path: Path) -> None:
        """Raises Damaged where it has no whole list of contents, OSError where it cannot be read."""
        self.path = path
        self.file = path.open("rb")
        try:
            self._contents, written = self._ends()
            self.manifest = self._read_manifest(written)
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def members(self) -> Iterator[Member]:
        """The files, as they were added; between two the archive may be read elsewhere. Raises Damaged."""
        return (one for one in self._members() if one.name not in (CONTENTS, MANIFEST))

    def check(self) -> None:
        """Read everything and hold it against the list of contents. Raises Damaged."""
        listed, count, members = hashlib.sha256(), 0, self.members()
        for line in self._lines():
            listed.update(line)
            expected, name = line.decode(errors="replace").rstrip("\n").split("  ", 1)
            member = next(members, None)
            if member is None or member.name != name:
                raise Damaged(f"{self.path.name} lacks {name}.")
            if self._hash(member) != expected:
                raise Damaged(f"{self.path.name} is damaged in {name}, which begins at byte {member.start:,}.")
            count += 1
        if listed.hexdigest() != self.manifest["contents_sha256"] or count != self.manifest["files"] or any(members):
            raise Damaged(f"{self.path.name} is damaged: its list of contents is another one than was written.")

    def read(self, member: Member) -> Iterator[bytes]:
        """The bytes of a member, a chunk at a time."""
        at, end = member.start, member.start + member.size
        while at < end:
            self.file.seek(at)
            chunk = self.file.read(min(CHUNK, end - at))
            if not chunk:
                raise Damaged(f"{self.path.name} ends at byte {at:,}, within {member.name}.")
            at += len(chunk)
            yield chunk

    def _members(self) -> Iterator[Member]:
        at = 0
        while True:
            self.file.seek(at)
            block = self.file.read(BLOCK)
            if block == bytes(BLOCK):
                return
            try:
                told = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                where = "ends" if len(block) < BLOCK else "is damaged"
                raise Damaged(f"{self.path.name} {where} at byte {at:,}: it is not a whole backup.") from None
            yield Member(told.name, at + BLOCK, told.size)
            at += BLOCK + told.size + -told.size % BLOCK

    def _ends(self) -> tuple[Member, Member]:
        """The two members that come last."""
        last = [Member("", 0, 0), Member("", 0, 0)]
        for member in self._members():
            last = [last[1], member]
        if [one.name for one in last] != [CONTENTS, MANIFEST]:
            raise Damaged(f"{self.path.name} is not a backup of a site: it does not end with {MANIFEST}.")
        return last[0], last[1]

    def _read_manifest(self, member: Member) -> dict[str, Any]:
        try:
            if member.size > MAX_MANIFEST_BYTES:
                raise ValueError
            manifest: dict[str, Any] = json.loads(b"".join(self.read(member)))
            told = manifest.pop("sha256")
        except (ValueError, KeyError, AttributeError, TypeError):
            told, manifest = "", {}
        if told != _digest_of(manifest):
            raise Damaged(f"{self.path.name} is damaged in {MANIFEST}, which begins at byte {member.start:,}.")
        return manifest

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self.read(self._contents):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest

    def _hash(self, member: Member) -> str:
        digest = hashlib.sha256()
        for chunk in self.read(member):
            digest.update(chunk)
        return digest.hexdigest()


def _header(name: str, size: int) -> bytes:
    told = tarfile.TarInfo(name)
    told.size, told.mode = size, 0o600
    return told.tobuf(tarfile.GNU_FORMAT)  # one block: our names are short


def _digest_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
