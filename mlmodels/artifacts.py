"""Artifacts, tier 1: `manifest.json` + `weights.safetensors`, from a folder or a zip, into the storage by their hash.

What can be refused without running anything is refused here with one sentence, and nothing is stored. The rest is the
admission check, a job (`mlmodels.tasks`).
"""

import hashlib
import json
import lzma
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import storages

from mlmodels import manifests
from mlmodels.manifests import MANIFEST, WEIGHTS, RefusedArtifact

MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_HEADER_BYTES = 16 * 1024 * 1024
CHUNK = 1024 * 1024
EXECUTABLE = {".pt": "PyTorch pickles", ".pth": "PyTorch pickles", ".pkl": "pickles", ".bin": "PyTorch pickles",
              ".pt2": "exported programs (.pt2)", ".ts": "TorchScript", ".onnx": "ONNX", ".npz": "pickles"}  # fmt: skip
PYTORCH_ARCHIVES = {
    "archive_format": "an exported program (.pt2)",
    "constants.pkl": "a TorchScript archive",
    "data.pkl": "a PyTorch pickle",
}


@dataclass(frozen=True)
class Artifact:
    """A stored artifact: its manifest, the hashes that name its two files, and their size together."""

    manifest: dict[str, Any]
    manifest_sha256: str
    weights_sha256: str
    size: int


def take_folder(folder: Path) -> Artifact:
    """Read, judge and store the artifact in `folder`. Raises RefusedArtifact."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not names:
        raise RefusedArtifact(f"{folder.name} is not a folder with {MANIFEST} and {WEIGHTS}.")
    _judge_names(names)
    for name in names:
        if not stat.S_ISREG(os.lstat(folder / name).st_mode):
            raise RefusedArtifact(f"{name} is a link or not a plain file; give the file itself.")
    return _take(lambda name: _open_plain(folder / name))


def take_zip(file: Any) -> Artifact:
    """Read, judge and store the artifact in a zip (a path or a binary file). Raises RefusedArtifact."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError):
        raise RefusedArtifact(f"The file is not a zip of {MANIFEST} and {WEIGHTS}.") from None
    with archive:
        names = [member.filename for member in archive.infolist()]
        _judge_contents(names)
        _judge_names(names)
        for member in archive.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise RefusedArtifact(f"{member.filename} is a link or not a plain file; give the file itself.")
            judge_size(member.filename, member.file_size)
        try:
            return _take(archive.open)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError) as error:
            raise RefusedArtifact(f"The zip cannot be read: {error}.") from None


def take_opened(names: list[str], open_file: Callable[[str], AbstractContextManager[IO[bytes]]]) -> Artifact:
    """Read, judge and store the artifact whose files are `names`, opened once each. Raises RefusedArtifact."""
    _judge_names(names)
    return _take(open_file)


def _open_plain(path: Path) -> IO[bytes]:
    """Open without following a link that was put there since we looked."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise RefusedArtifact(f"{path.name} cannot be read: {error.strerror}.") from None
    try:
        judge_size(path.name, os.fstat(file.fileno()).st_size)
    except RefusedArtifact:
        file.close()
        raise
    return file


def _judge_contents(names: list[str]) -> None:
    """Say it in so many words when somebody gives what PyTorch itself saved: each is a zip too."""
    inside = {name.rsplit("/", 1)[-1] for name in names}
    for mark, kind in PYTORCH_ARCHIVES.items():
        if mark in inside:
            raise RefusedArtifact(f"The file is {kind}, which can run code when loaded; export {WEIGHTS} instead.")


def _judge_names(names: list[str]) -> None:
    for name in names:
        if name in (MANIFEST, WEIGHTS):
            continue
        shown = ascii(name[:80])
        if "/" in name or "\\" in name or name.startswith("."):
            raise RefusedArtifact(f"{shown} is not a plain file name: only {MANIFEST} and {WEIGHTS} are accepted.")
        if kind := EXECUTABLE.get(Path(name).suffix.lower()):
            raise RefusedArtifact(f"{shown}: {kind} can run code when loaded and are refused; export {WEIGHTS}.")
        raise RefusedArtifact(f"{shown} does not belong here: only {MANIFEST} and {WEIGHTS} are accepted.")
    if len(set(names)) != len(names):
        raise RefusedArtifact("The same file name occurs twice.")
    for name in (MANIFEST, WEIGHTS):
        if name not in names:
            raise RefusedArtifact(f"{name} is missing.")


def judge_size(name: str, size: int) -> None:
    """Raises RefusedArtifact where the file called `name` is larger than is accepted."""
    limit = MAX_MANIFEST_BYTES if name == MANIFEST else settings.MAX_ARTIFACT_BYTES
    if size > limit:
        raise RefusedArtifact(f"{name} has {size:,} bytes; at most {limit:,} are accepted.")


def _take(open_file: Callable[[str], AbstractContextManager[IO[bytes]]]) -> Artifact:
    with open_file(MANIFEST) as file:
        text = _bounded(file, MAX_MANIFEST_BYTES)
    manifest = manifests.read(text)
    claimed = manifest["files"][WEIGHTS]
    with open_file(WEIGHTS) as file, tempfile.TemporaryFile() as kept:
        digest, size = _copy_hashed(file, kept)
        if digest != claimed["sha256"] or size != claimed["size"]:
            raise RefusedArtifact(
                f"{WEIGHTS} has sha256 {digest[:16]}… and {size:,} bytes; the manifest says "
                f"{claimed['sha256'][:16]}… and {claimed['size']:,}."
            )
        _judge_weights(kept, size)
        _store(digest, File(kept, name=digest))
    manifest_sha256 = hashlib.sha256(text).hexdigest()
    _store(manifest_sha256, ContentFile(text, name=manifest_sha256))
    return Artifact(manifest, manifest_sha256, digest, size + len(text))


def _store(name: str, content: Any) -> None:
    """Also where a file of that name is: it was named by its content, which a disk may have spoilt since."""
    storages["artifacts"].save(name, content)


def _bounded(file: IO[bytes], limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise RefusedArtifact(f"{MANIFEST} is larger than {limit:,} bytes.")
    return data


def _copy_hashed(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        judge_size(WEIGHTS, size)
        digest.update(chunk)
        target.write(chunk)
    target.seek(0)
    return digest.hexdigest(), size


def _judge_weights(file: IO[bytes], size: int) -> None:
    """The safetensors header: its length, then JSON that accounts for every byte. Leaves the file at its start."""
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if head[:2] == b"PK" or head[:1] == b"\x80":
        raise RefusedArtifact(f"{WEIGHTS} is a PyTorch pickle or archive, which can run code; save it as safetensors.")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise RefusedArtifact(f"{WEIGHTS} is not a safetensors file: its header claims {length:,} bytes.")
    try:
        header = json.loads(file.read(length))
        ends = [int(tensor["data_offsets"][1]) for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
        raise RefusedArtifact(f"{WEIGHTS} is not a safetensors file: its header cannot be read.") from None
    if not ends or max(ends) != size - 8 - length:
        raise RefusedArtifact(
            f"{WEIGHTS} claims {max(ends, default=0):,} bytes of tensors and has {size - 8 - length:,}."
        )
    file.seek(0)
