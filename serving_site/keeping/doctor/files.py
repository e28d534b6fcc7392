"""Stored files: whether each storage works, and whether the versions' files are there and are what was stored."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from mlmodels.models import MLModel, ModelVersion, State
from serving_site.keeping.doctor.findings import Finding, error, ok, warning
from serving_site.storage_url import AREAS

SHOWN = 3


def storages_work() -> Iterator[Finding]:
    """Write a file into each, read it back and delete it."""
    for area in AREAS:
        name, content = str(uuid.uuid4()), os.urandom(100)
        try:
            storages[area].save(name, ContentFile(content))
            with storages[area].open(name) as file:
                came_back = file.read() == content
            storages[area].delete(name)
            was_left = storages[area].exists(name)
        except OSError as failure:
            yield error(f"The storage {area} does not work: {failure}", _advice())
            continue
        if not came_back or was_left:
            what = "gives back another file than it got" if not came_back else "does not delete"
            yield error(f"The storage {area} {what}.", _advice())
        else:
            yield ok(f"The storage {area} writes, reads and deletes ({settings.STORAGE_URL.partition(':')[0]}).")


def _advice() -> str:
    return {
        "file": f"Check that the folder of STORAGE_URL ({settings.STORAGE_URL}) belongs to the site's user.",
        "site": "Check that the web host answers there (its proxy's port 8010), and that SECRET_KEY is the same.",
        "s3": "Check the bucket, the endpoint and AWS_ACCESS_KEY_ID: list, get, put and delete must be allowed.",
    }[settings.STORAGE_URL.partition(":")[0]]


def live_versions_are_whole() -> Iterator[Finding]:
    """What answers people now: healthy, and its files hash to their names."""
    versions = [
        model.live_version
        for model in MLModel.objects.exclude(live_release=None).select_related("live_release__version__model")
    ]
    bad = 0
    for version in versions:
        assert version is not None
        if version.state != State.HEALTHY:
            bad += 1
            yield error(
                f"{version} is live and {version.state}: {version.state_reason or 'no reason was kept'}",
                f"manage.py rollback {version.model.slug} --reason …, or import its files again.",
            )
        for sha256 in (version.manifest_sha256, version.weights_sha256):
            if what := _wrong(sha256):
                bad += 1
                yield error(
                    f"{version} is live, and its file {sha256[:16]}… is {what}.",
                    "Import the same artifact again (manage.py import_version), or restore it from a backup.",
                )
    if not bad:
        yield ok(f"{len(versions)} live versions are healthy, and their files are what was stored.")


def _wrong(sha256: str) -> str:
    """Empty where the stored file has that hash."""
    try:
        with storages["artifacts"].open(sha256) as file:
            digest = hashlib.sha256()
            for chunk in file.chunks():
                digest.update(chunk)
    except FileNotFoundError:
        return "missing"
    return "" if digest.hexdigest() == sha256 else "damaged"


def versions_have_their_files() -> Iterator[Finding]:
    """The versions that one could go back to: their files are there. What is in them is seen when they are loaded."""
    healthy = ModelVersion.objects.filter(state=State.HEALTHY).select_related("model")
    gone = sorted(
        {
            str(version)
            for version in healthy.iterator()
            for sha256 in (version.manifest_sha256, version.weights_sha256)
            if not storages["artifacts"].exists(sha256)
        }
    )
    if gone:
        yield warning(
            f"Files of {len(gone)} versions are missing: {_some(gone)}.",
            "Restore them from a backup, or import them again: until then nobody can go back to them.",
        )
    else:
        yield ok(f"The files of {healthy.count()} healthy versions are there.")


def _some(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:SHOWN]) + (", …" if len(known) > SHOWN else "")
