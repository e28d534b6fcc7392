"""What may go goes, in batches, and only when told; everything else stays."""

import datetime
import io
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.utils import timezone

from mlmodels.models import MLModel, ModelVersion, State
from predictions import dispatch
from predictions.models import Prediction, Upload
from serving_site.accounts.models import User
from serving_site.jobs.models import Worker
from serving_site.jobs.uuid7 import uuid7
from serving_site.storage_url import storages_of
from tests import registry
from tests.keeping.conftest import answered, keep
from tests.services import Buckets

NOTHING = {"predictions": 0, "artifacts": 0, "uploads": 0, "drafts": 0, "workers": 0, "sessions": 0}


def prune(*options: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("prune", "--json", *options, stdout=out)
    done: dict[str, Any] = json.loads(out.getvalue())
    return done


def aged(days: float) -> uuid.UUID:
    """A key as one made then would have."""
    fresh = uuid7()
    return uuid.UUID(int=fresh.int - (int(days * 86_400_000) << 80))


def grow_old(folder: Path) -> None:
    """Every stored file was written two days ago."""
    for path in (folder / "files").rglob("*"):
        os.utime(path, (time.time() - 2 * 86400,) * 2)


def stored(area: str) -> set[str]:
    return {name for name, _ in storages[area].stored()}  # type: ignore[attr-defined]


def old(alice: User, model: MLModel, days: float, **fields: Any) -> Prediction:
    one, key = answered(alice, model, **fields), aged(days)
    Prediction.objects.filter(pk=one.pk).update(id=key)
    return Prediction.objects.get(pk=key)


def test_old_predictions_go_with_their_files_when_told(folder: Path, alice: User, model: MLModel) -> None:
    gone, kept = old(alice, model, 31), answered(alice, model)
    queued = old(alice, model, 400, status="queued")
    assert prune("--older-than", "30") == {**NOTHING, "removed": False, "predictions": 1}
    assert Prediction.objects.count() == 3
    assert prune("--older-than", "30", "--yes") == {**NOTHING, "removed": True, "predictions": 1}
    assert set(Prediction.objects.values_list("pk", flat=True)) == {kept.pk, queued.pk}
    assert stored("uploads") == {str(key) for key in Upload.objects.values_list("pk", flat=True)}
    assert gone.inputs[0]["picture"]["upload"] not in stored("uploads")
    assert len(stored("uploads")) == 4


def test_without_an_age_no_prediction_is_old(folder: Path, alice: User, model: MLModel) -> None:
    old(alice, model, 4000)
    assert prune("--yes") == {**NOTHING, "removed": True}
    with pytest.raises(CommandError, match=r"^--older-than is 0: expected 1 day or more\.$"):
        prune("--older-than", "0", "--yes")


def test_they_go_in_batches(folder: Path, alice: User, model: MLModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        old(alice, model, 40)
    monkeypatch.setattr(dispatch, "FORGET_ROWS", 2)
    seen: list[int] = []
    monkeypatch.setattr("predictions.uploads.remove", lambda keys: seen.append(len(keys)))
    waiting = old(alice, model, 40, status="queued")
    assert dispatch.forget(Prediction.objects.all()) == 5
    assert Prediction.objects.get() == waiting
    assert seen == [4, 4, 2]


def test_files_that_no_row_names_go_after_a_day(folder: Path, prediction: Prediction, model: MLModel) -> None:
    lost = keep(b"named by nothing")
    upload = str(uuid7())
    storages["uploads"].save(upload, ContentFile(b"x"))
    assert prune("--yes") == {**NOTHING, "removed": True}
    grow_old(folder)
    assert prune() == {**NOTHING, "removed": False, "artifacts": 1, "uploads": 1}
    assert prune("--yes") == {**NOTHING, "removed": True, "artifacts": 1, "uploads": 1}
    version = model.versions.get()
    assert stored("artifacts") == {version.manifest_sha256, version.weights_sha256}
    assert lost not in stored("artifacts")
    assert len(stored("uploads")) == 2


def test_files_of_a_refused_version_go_unless_another_one_has_them(folder: Path, prediction: Prediction) -> None:
    grow_old(folder)
    ModelVersion.objects.update(state=State.REFUSED)
    weights = ModelVersion.objects.get().weights_sha256
    registry.live_model("other")
    ModelVersion.objects.filter(model__slug="other").update(weights_sha256=weights)
    assert prune("--yes")["artifacts"] == 1
    ModelVersion.objects.filter(model__slug="other").update(state=State.QUARANTINED)
    assert prune("--yes")["artifacts"] == 0


def test_drafts_workers_and_sessions_that_ended_go(folder: Path, prediction: Prediction) -> None:
    draft = next((folder / "files" / "uploads").glob("??")) / ".draft-1"
    draft.write_bytes(b"half")
    grow_old(folder)
    now = timezone.now()
    for hours in (0, 2):
        seen = now - datetime.timedelta(hours=hours)
        Worker.objects.create(host="here", pid=hours, slots=1, started_at=seen, seen_at=seen)
        Session.objects.create(session_key=f"key-{hours}", session_data="", expire_date=seen + YOUNG)
    assert prune("--yes") == {**NOTHING, "removed": True, "drafts": 1, "workers": 1, "sessions": 1}
    assert (Worker.objects.get().pid, Session.objects.get().session_key) == (0, "key-0")


YOUNG = datetime.timedelta(minutes=5)


def test_a_bucket_is_looked_through_too(
    folder: Path, prediction: Prediction, buckets: Buckets, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    settings.STORAGES = {**settings.STORAGES, **storages_of(buckets.new(), has_secret=True)}
    keep(b"of pictures")
    lost = keep(b"named by nothing")
    assert prune("--yes")["artifacts"] == 0
    monkeypatch.setattr("serving_site.keeping.prune.YOUNG", datetime.timedelta(seconds=-5))
    assert prune("--yes")["artifacts"] == 1
    assert lost not in stored("artifacts")
    assert len(stored("artifacts")) == 1


def test_it_says_what_it_would_do(folder: Path, prediction: Prediction, settings: Any) -> None:
    out = io.StringIO()
    call_command("prune", stdout=out)
    assert out.getvalue() == "There is nothing to remove.\n"
    keep(b"named by nothing")
    grow_old(folder)
    out = io.StringIO()
    call_command("prune", stdout=out)
    assert out.getvalue() == (
        "Would remove: 1 files of artifacts that no row names, or only that of a refused version.\n"
        "Nothing was removed: --yes does it.\n"
    )
    settings.STORAGES = {**settings.STORAGES, **storages_of("site://127.0.0.1:9", has_secret=True)}
    out = io.StringIO()
    call_command("prune", "--yes", stdout=out)
    assert out.getvalue().startswith("Files were not looked at: they lie on the web host, so prune there.\n")
