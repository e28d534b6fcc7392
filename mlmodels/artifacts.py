"""Artifacts: `manifest.json` and one large file, from a folder or a zip, into the storage by their hash.

Tier 1 is `weights.safetensors`, which is data. Tier 2 is `program.pt2`, which runs code when it is loaded: only where
the setting ALLOW_EXECUTABLE_ARTIFACTS says so, and from whom the permission `mlmodels.upload_executable` allows. What
can be refused without running anything is refused here with one sentence, and nothing is stored. The rest is the
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
from mlmodels.manifests import MANIFEST, PROGRAM, WEIGHTS, RefusedArtifact
from mlmodels.models import ModelVersion
from serving_site.accounts.models import User

MAX_MANIFEST_BYTES = 32 * 1024 * 1024  # it may list the hash of every row trained on
MAX_HEADER_BYTES = 16 * 1024 * 1024
Open = Callable[[str], AbstractContextManager[IO[bytes]]]
CHUNK = 1024 * 1024
EXECUTABLE = {".pt": "PyTorch pickles", ".pth": "PyTorch pickles", ".pkl": "pickles", ".bin": "PyTorch pickles",
              ".pt2": "exported programs (.pt2)", ".ts": "TorchScript", ".onnx": "ONNX", ".npz": "pickles"}  # fmt: skip
PYTORCH_ARCHIVES = {
    "archive_format": "an exported program (.pt2)",
    "constants.pkl": "a TorchScript archive",
    "data.pkl": "a PyTorch pickle",
}
NOT_ALLOWED = (
    f"{PROGRAM} is an exported program, which can run code when loaded, and is refused: export {WEIGHTS}, or let an "
    "operator set ALLOW_EXECUTABLE_ARTIFACTS, which lets those who may give versions run code in the workers' sandbox."
)
NOT_PERMITTED = (
    f"{PROGRAM} runs code when it is loaded: giving one needs the permission "
    "“Can upload artifacts that run code when loaded”."
)


@dataclass(frozen=True)
class Artifact:
    """A stored artifact: its manifest, the hashes that name its two files, and their size together.

    `weights_sha256` is of the large file, whichever of the two tiers it belongs to.
    """

    manifest: dict[str, Any]
    manifest_sha256: str
    weights_sha256: str
    size: int


def take_folder(folder: Path, *, by: User | None = None) -> Artifact:
    """Read, judge and store the artifact in `folder`. Raises RefusedArtifact."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not names:
        raise RefusedArtifact(f"{folder.name} is not a folder with {MANIFEST} and {WEIGHTS}.")
    _judge_names(names)
    for name in names:
        if not stat.S_ISREG(os.lstat(folder / name).st_mode):
            raise RefusedArtifact(f"{name} is a link or not a plain file; give the file itself.")
    return take_opened(names, lambda name: _open_plain(folder / name), by=by)


def take_zip(file: Any, *, by: User | None = None) -> Artifact:
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
            return take_opened(names, archive.open, by=by)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError) as error:
            raise RefusedArtifact(f"The zip cannot be read: {error}.") from None


def take_opened(names: list[str], open_file: Open, *, by: User | None = None) -> Artifact:
    """Read, judge and store the artifact whose files are `names`, opened once each. Raises RefusedArtifact.

    `by` is the person who gives it, where a page asks on behalf of one; a shell and a push need no permission of ours.
    """
    _judge_names(names)
    with open_file(MANIFEST) as file:
        text = _bounded(file, MAX_MANIFEST_BYTES)
    manifest = manifests.read(text)
    _, large = manifests.files_of(manifest)
    if large not in names:
        raise RefusedArtifact(f"{large} is missing: the manifest names it.")
    if manifests.is_executable(manifest) and by is not None and not by.has_perm("mlmodels.upload_executable"):
        raise RefusedArtifact(NOT_PERMITTED)
    digest, size = _take_large(large, open_file, manifest["files"][large])
    manifest_sha256 = hashlib.sha256(text).hexdigest()
    _store(manifest_sha256, ContentFile(text, name=manifest_sha256))
    return Artifact(manifest, manifest_sha256, digest, size + len(text))


def _take_large(name: str, open_file: Open, claimed: dict[str, Any]) -> tuple[str, int]:
    """Store the large file by its hash, which must be the claimed one. Returns hash and size."""
    with open_file(name) as file, tempfile.TemporaryFile() as kept:
        digest, size = _copy_hashed(name, file, kept)
        if digest != claimed["sha256"] or size != claimed["size"]:
            raise RefusedArtifact(
                f"{name} has sha256 {digest[:16]}… and {size:,} bytes; the manifest says "
                f"{claimed['sha256'][:16]}… and {claimed['size']:,}."
            )
        if name == WEIGHTS:
            _judge_weights(kept, size)
        elif kept.read(4) != b"PK\x03\x04":
            raise RefusedArtifact(f"{name} is not an exported program: save it with torch.export.save.")
        kept.seek(0)
        _store(digest, File(kept, name=digest))
    return digest, size


def read_manifest(version: ModelVersion) -> dict[str, Any]:
    """The manifest as it is stored: with `dataset.row_hashes`, which the version's row leaves out.

    Raises FileNotFoundError or, where the file is not what was stored, RefusedArtifact.
    """
    with storages["artifacts"].open(version.manifest_sha256) as file:
        text = _bounded(file, MAX_MANIFEST_BYTES)
    if hashlib.sha256(text).hexdigest() != version.manifest_sha256:
        raise RefusedArtifact(f"The stored manifest of {version} is corrupt: its bytes do not have that hash.")
    manifest: dict[str, Any] = json.loads(text)
    return manifest


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
        if mark not in inside:
            continue
        if mark == "archive_format" and settings.ALLOW_EXECUTABLE_ARTIFACTS:
            raise RefusedArtifact(f"The file is {kind} without its manifest: give a zip of {MANIFEST} and {PROGRAM}.")
        instead = _instead(f"{WEIGHTS} instead", is_program=mark == "archive_format")
        raise RefusedArtifact(f"The file is {kind}, which can run code when loaded; {instead}.")


def _instead(wanted: str, *, is_program: bool) -> str:
    allowing = " (an operator may allow exported programs: ALLOW_EXECUTABLE_ARTIFACTS)"
    return f"export {wanted}" + (allowing if is_program else "")


def _judge_names(names: list[str]) -> None:
    """Raise RefusedArtifact unless these are the files of an artifact: its manifest and one of the two large ones."""
    if PROGRAM in names and not settings.ALLOW_EXECUTABLE_ARTIFACTS:
        raise RefusedArtifact(NOT_ALLOWED)
    large = PROGRAM if PROGRAM in names else WEIGHTS
    for name in names:
        if name not in (MANIFEST, large):
            raise RefusedArtifact(_stranger(name, large))
    if len(set(names)) != len(names):
        raise RefusedArtifact("The same file name occurs twice.")
    for name in (MANIFEST, large):
        if name not in names:
            raise RefusedArtifact(f"{name} is missing.")


def _stranger(name: str, large: str) -> str:
    """Why a file of this name is refused."""
    shown = ascii(name[:80])
    if "/" in name or "\\" in name or name.startswith("."):
        return f"{shown} is not a plain file name: only {MANIFEST} and {large} are accepted."
    suffix = Path(name).suffix.lower()
    if suffix == ".pt2" and settings.ALLOW_EXECUTABLE_ARTIFACTS:
        return f"{shown}: an exported program must be called {PROGRAM}."
    if kind := EXECUTABLE.get(suffix):
        instead = _instead(WEIGHTS, is_program=suffix == ".pt2")
        return f"{shown}: {kind} can run code when loaded and are refused; {instead}."
    return f"{shown} does not belong here: only {MANIFEST} and {large} are accepted."


def judge_size(name: str, size: int) -> None:
    """Raises RefusedArtifact where the file called `name` is larger than is accepted."""
    limit = MAX_MANIFEST_BYTES if name == MANIFEST else settings.MAX_ARTIFACT_BYTES
    if size > limit:
        raise RefusedArtifact(f"{name} has {size:,} bytes; at most {limit:,} are accepted.")


def _store(name: str, content: Any) -> None:
    """Also where a file of that name is: it was named by its content, which a disk may have spoilt since."""
    storages["artifacts"].save(name, content)


def _bounded(file: IO[bytes], limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise RefusedArtifact(f"{MANIFEST} is larger than {limit:,} bytes.")
    return data


def _copy_hashed(name: str, source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        judge_size(name, size)
        digest.update(chunk)
        target.write(chunk)
    target.seek(0)
    return digest.hexdigest(), size


def _judge_weights(file: IO[bytes], size: int) -> None:
    """The safetensors header: its length, then JSON that accounts for every byte."""
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        # Only now: a header of 128 bytes, or of 256 more and so on, begins with the byte that a pickle begins with.
        if head[:2] == b"PK" or head[:1] == b"\x80":
            told = "is a PyTorch pickle or archive, which can run code; save it as safetensors."
            raise RefusedArtifact(f"{WEIGHTS} {told}")
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
