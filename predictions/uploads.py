"""Stored files of predictions: written before the row that names them, removed when nothing names them any more."""

import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import storages

from predictions.models import Upload
from serving_site.jobs.uuid7 import uuid7

NAME_LENGTH = 120


def store(owner_id: Any, file: Any, content_type: str, name: str, *, is_preview: bool = False) -> Upload:
    """Store the bytes of `file` (an open Django file) and their row. On an error neither is left."""
    key = uuid7()
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    storages["uploads"].save(str(key), file)
    try:
        return Upload.objects.create(
            id=key,
            owner_id=owner_id,
            sha256=digest.hexdigest(),
            size=file.size,
            content_type=content_type,
            name=shown_name(name),
            is_preview=is_preview,
        )
    except Exception:
        storages["uploads"].delete(str(key))
        raise


def store_preview(owner_id: Any, png: bytes) -> str:
    """Store a picture that an executor drew; returns its key."""
    return str(store(owner_id, ContentFile(png), "image/png", "preview.png", is_preview=True).id)


def value(given: Any) -> Any:
    """An input's value as an executor takes it: a stored picture's bytes, or the value itself.

    Raises FileNotFoundError.
    """
    if not isinstance(given, dict):
        return given
    with storages["uploads"].open(given["upload"]) as file:
        return file.read()


def copy(key: str) -> Upload:
    """A stored file once more under a key of its own, so that either can be deleted alone."""
    old = Upload.objects.get(pk=key)
    with storages["uploads"].open(key) as file:
        return store(old.owner_id, file, old.content_type, old.name)


def remove(keys: Iterable[str | uuid.UUID]) -> None:
    """Remove rows and bytes."""
    wanted = [str(key) for key in keys]
    Upload.objects.filter(pk__in=wanted).delete()
    for key in wanted:
        storages["uploads"].delete(key)


def shown_name(name: str) -> str:
    """A file's own name as we show it: the last part, printable, at most 120 characters. Never used as a path."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:NAME_LENGTH] or "file"
