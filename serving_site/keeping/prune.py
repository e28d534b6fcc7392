"""What may go: old predictions if asked, files that no row names, rows of dead workers, sessions that ended."""

from __future__ import annotations

import datetime
import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.contrib.sessions.models import Session
from django.core.files.storage import storages
from django.db.models import QuerySet
from django.utils import timezone

from mlmodels.models import DatasetSnapshot, ModelVersion, State
from predictions import dispatch
from predictions.models import Prediction, Upload
from serving_site.jobs import sql
from serving_site.jobs.models import FINAL, Worker
from serving_site.storage import LocalStorage
from serving_site.storage_url import AREAS

YOUNG = datetime.timedelta(days=1)
"""A file is written before the row that names it: one that is younger is left alone."""
SILENT = datetime.timedelta(hours=1)
SOME = 1000


def old_predictions(days: int) -> QuerySet[Prediction]:
    """Those that have ended and were made more than `days` days ago: their keys begin with the time."""
    before = sql.now() - datetime.timedelta(days=days)
    first = uuid.UUID(int=int(before.timestamp() * 1000) << 80)
    return Prediction.objects.filter(pk__lt=first, status__in=FINAL)


def prune(days: int | None, *, really: bool) -> dict[str, int]:
    """Remove (or count) what may go; returns how much of each there was. Files of predictions count with them."""
    done = {"predictions": 0}
    if days is not None:
        old = old_predictions(days)
        done["predictions"] = dispatch.forget(old) if really else old.count()
    for area in AREAS:
        done[area] = _orphans(area, really)
    drafts = _drafts()
    done["drafts"] = len(drafts)
    if really:
        for path in drafts:
            path.unlink(missing_ok=True)
    for name, rows in (("workers", _silent_workers()), ("sessions", _ended_sessions())):
        done[name] = rows.count()
        if really:
            rows.delete()
    return done


def keeps_files_itself() -> bool:
    """Whether the files can be listed from here: behind STORAGE_URL=site:// only the web host can."""
    return all(hasattr(storages[area], "stored") for area in AREAS)


def _orphans(area: str, really: bool) -> int:
    count = 0
    for name in orphans(area):
        count += 1
        if really:
            storages[area].delete(name)
    return count


def orphans(area: str) -> Iterator[str]:
    """Files that no row names, or only that of a refused version, and that are a day old."""
    storage: Any = storages[area]
    if not keeps_files_itself():
        return
    before = datetime.datetime.now(datetime.UTC) - YOUNG
    old = (name for name, at in storage.stored() if at < before)
    while some := set(itertools.islice(old, SOME)):
        yield from sorted(some - (_named_uploads(some) if area == "uploads" else _named_artifacts(some)))


def _named_uploads(names: set[str]) -> set[str]:
    keys = [name for name in names if len(name) == 36]
    return {str(key) for key in Upload.objects.filter(pk__in=keys).values_list("pk", flat=True)}


def _named_artifacts(names: set[str]) -> set[str]:
    versions = ModelVersion.objects.exclude(state=State.REFUSED)
    columns = (
        (versions, "manifest_sha256"),
        (versions, "weights_sha256"),
        (DatasetSnapshot.objects.all(), "train_sha256"),
        (DatasetSnapshot.objects.all(), "holdout_sha256"),
    )
    return {
        name
        for rows, column in columns
        for name in rows.filter(**{f"{column}__in": names}).values_list(column, flat=True)
    }


def _drafts() -> list[Path]:
    before = datetime.datetime.now(datetime.UTC) - YOUNG
    kept = (storages[area] for area in AREAS)
    return [path for one in kept if isinstance(one, LocalStorage) for path in one.drafts(before)]


def _silent_workers() -> QuerySet[Worker]:
    return Worker.objects.filter(seen_at__lt=sql.now() - SILENT)


def _ended_sessions() -> QuerySet[Session]:
    return Session.objects.filter(expire_date__lt=timezone.now())
