"""The two storages of files, `artifacts` and `uploads`: a folder on one machine, or the web host over HTTP.

A third kind, a bucket, stands in `serving_site.storage_s3`.

No path is ever stored in a row: a file's name is the hash of an artifact's bytes or the key of an upload.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.deconstruct import deconstructible

NAME = re.compile(r"[0-9a-f][0-9a-f-]{15,79}")
"""What a file may be called: a sha256 in hex, or a UUID."""


CHUNK = 1024 * 1024
DRAFT = ".draft-"
FILE_MODE, FOLDER_MODE = 0o640, 0o750
"""A proxy in the site's group may read what it is told to send."""


def worker_key() -> str:
    """The key with which workers reach the web host's files: both sides derive it from SECRET_KEY."""
    return hmac.new(settings.SECRET_KEY.encode(), b"serving-site worker files", hashlib.sha256).hexdigest()


def checked(name: str) -> str:
    """`name`, or ValueError where it could be anything but one of our own file names."""
    if not NAME.fullmatch(name):
        raise ValueError(f"not a stored file's name: {name[:80]!r}")
    return name


@deconstructible
class LocalStorage(FileSystemStorage):
    """A folder whose files appear whole or not at all: written aside, synced, renamed."""

    def __init__(self, base: str) -> None:
        super().__init__(location=base)

    def path(self, name: str) -> str:
        return str(Path(self.location) / name[:2] / checked(name))

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        target = Path(self.path(name))
        is_new = self._make_folder(target.parent)
        with _draft(target.parent) as draft:
            for chunk in content.chunks():
                draft.write(chunk)
            draft.flush()
            os.fchmod(draft.fileno(), FILE_MODE)
            os.fsync(draft.fileno())
            Path(draft.name).replace(target)
        sync_folder(target.parent)
        if is_new:
            sync_folder(target.parent.parent)
        return name

    def _make_folder(self, folder: Path) -> bool:
        """Whether it had to be made; so are the folders above it that are ours."""
        if folder.exists():
            return False
        base = Path(self.location)
        for one in (base.parent, base, folder):
            if not one.exists():
                one.mkdir(parents=True, exist_ok=True)
                one.chmod(FOLDER_MODE)
        return True

    def stored(self) -> Iterator[tuple[str, datetime]]:
        """The name of each file, and when it was written."""
        for path in Path(self.location).glob("??/*"):
            if NAME.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):
                    yield path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC)

    def drafts(self, before: datetime) -> list[Path]:
        """What killed processes left half written."""
        paths = Path(self.location).glob(f"??/{DRAFT}*")
        return [path for path in paths if datetime.fromtimestamp(path.stat().st_mtime, UTC) < before]


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[IO[bytes]]:
    """A temporary file in `folder`; what is still there at the end is removed."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=DRAFT, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Let the names in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


MISSING = "X-Stored-File"
"""A header of the 404 that means "no such file": any other 404 comes from a wrong key or address, and a worker must
not take a version out of service for that."""


@deconstructible
class SiteStorage(Storage):
    """The web host's files, read and written by name at /internal/files/ with the worker key.

    A file that is not there is FileNotFoundError; every other failure is another OSError.
    """

    TIMEOUT_S = 30

    def __init__(self, base: str) -> None:
        host, _, self.area = base.rpartition("/")
        self.url_base = f"http://{host}/internal/files/{self.area}"
        # Never through a proxy of the environment: the key is for the web host alone.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _request(self, method: str, name: str, body: Any = None, **headers: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the scheme is ours
            f"{self.url_base}/{checked(name)}", method=method, data=body, headers=headers
        )
        request.add_header("Authorization", f"Bearer {worker_key()}")
        try:
            return self.opener.open(request, timeout=self.TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and error.headers[MISSING]:
                    raise FileNotFoundError(name) from None
                raise OSError(f"the web host answered {error.code} for file {name}") from None

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        """A local copy, whole: a connection that ends early is an OSError, never a shorter file."""
        kept = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            with self._request("GET", name) as answer:
                shutil.copyfileobj(answer, kept, CHUNK)
                if kept.tell() != int(answer.headers["Content-Length"]):
                    raise OSError(f"the web host sent {kept.tell()} bytes of file {name}")
        except BaseException:
            kept.close()
            raise
        kept.seek(0)
        return File(kept, name=name)

    def _save(self, name: str, content: Any) -> str:
        content.seek(0)
        sized = {"Content-Length": str(content.size), "Content-Type": "application/octet-stream"}
        self._request("PUT", name, content, **sized).close()
        return name

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._request("DELETE", name).close()

    def exists(self, name: str) -> bool:
        try:
            self._request("HEAD", name).close()
        except FileNotFoundError:
            return False
        return True
